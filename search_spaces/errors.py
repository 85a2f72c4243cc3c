"""Mistakes in a search-space file, their wording, and the error that lists all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic_core import ErrorDetails

from trainables.errors import UserError

MAX_SHOWN = 60  # characters of a value or key in a message
_WANTS_MAPPING = {"model_type", "dict_type", "mapping_type", "model_attributes_type"}


def shown(value: object) -> str:
    """Return a value as it is written in a file, on one line and cut to a readable length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def nearest(key: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` if a valid key is close to the given one, else an empty text."""
    # A key of thousands of letters is no misspelling, and comparing it would be slow.
    keys = list(valid)
    matches = get_close_matches(key[:MAX_SHOWN], keys, n=1)
    if not matches and len(key) > 2:
        matches = [other for other in keys if other.startswith(key)]
    return f"; did you mean {matches[0]!r}?" if matches else ""


def unknown(what: str, key: str, valid: Iterable[str]) -> str:
    """Return a message that a key or name is unknown, with the nearest valid one and all valid ones."""
    keys = sorted(valid)
    return f"unknown {what} {shown(key)}{nearest(key, keys)} (valid: {', '.join(keys) or 'none'})"


def explain(error: ErrorDetails) -> str:
    """Return our message for one of pydantic's errors: the relation that must hold, and the value that broke it."""
    kind, message, value = error["type"], error["msg"], error["input"]
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "literal_error":
        options = str(error["ctx"]["expected"])
        words = options.replace(" or ", ", ").replace("'", "").split(", ")
        return f"must be {options}, not {shown(value)}{nearest(str(value), words)}"
    if kind in _WANTS_MAPPING:
        return f"must be a mapping of settings, not {shown(value)}"
    return f"{message.replace('Input should', 'must')}, not {shown(value)}"


Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Mistake:
    """A mistake in a file.

    Attributes:
        line: its line from 1, None if not known (yet).
        path: the keys and indices that lead to it.
        message: the relation that must hold, the value that broke it, and what to do.
    """

    line: int | None
    path: Path
    message: str


class SpaceError(UserError):
    """A search-space file that cannot be used; its text holds every mistake, one a line, in the file's order."""

    def __init__(self, source: str, mistakes: Iterable[Mistake]) -> None:
        self.source = source
        # A mistake that was found twice is listed once; mistakes of one line stay in the order of discovery.
        self.mistakes = tuple(sorted(dict.fromkeys(mistakes), key=lambda mistake: mistake.line or 0))
        super().__init__("\n".join(self._sentence(mistake) for mistake in self.mistakes))

    def _sentence(self, mistake: Mistake) -> str:
        source = self.source if self.source.isprintable() else shown(self.source)
        place = source if mistake.line is None else f"{source}:{mistake.line}"
        return ": ".join(part for part in (place, dotted(mistake.path), mistake.message) if part)


def dotted(path: Path) -> str:
    """Return a path as people write it: ``first[0].generator.learning_rate``."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{key if key.isidentifier() else shown(key)}" for key in path]
    return "".join(parts).removeprefix(".")
