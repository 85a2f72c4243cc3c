"""Mistakes in a search-space file, their wording, and the error that lists all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Self

from trainables.errors import UserError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_SHOWN = 60  # characters of a value or key in a message
MAX_MISTAKES = 100  # of one file that are listed
_MAX_MEANT = 3  # keys below that a message proposes
_MAX_NAMES = 64  # valid names in a message; among more, none is looked for that is close to a misspelt one
_RELATIONS = {
    "greater_than": "greater than",
    "greater_than_equal": "greater than or equal to",
    "less_than": "less than",
    "less_than_equal": "less than or equal to",
}
_WANTED = {
    **dict.fromkeys(
        ("model_type", "dict_type", "mapping_type", "model_attributes_type"), "must be a mapping of settings"
    ),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    "bool_type": "must be true or false",
}


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
    matches = get_close_matches(key[:MAX_SHOWN], keys, n=1) if len(keys) <= _MAX_NAMES else []
    if not matches and len(key) > 2:
        matches = [other for other in keys if other.startswith(key)]
    return f"; did you mean {matches[0]!r}?" if matches else ""


def unknown(what: str, key: str, valid: Iterable[str], deeper: Iterable[str] = ()) -> str:
    """Return a message that a key or name is unknown, with the nearest valid one and all valid ones.

    Args:
        what: it should be.
        key: that is unknown.
        valid: what may stand there instead.
        deeper: dotted keys that end with it: probably one of them is meant.
    """
    keys, meant = sorted(valid), sorted(dict.fromkeys(deeper), key=lambda name: name.count("."))[:_MAX_MEANT]
    others = f" and {len(keys) - _MAX_NAMES} more" if len(keys) > _MAX_NAMES else ""
    hint = f"; did you mean {' or '.join(meant)}?" if meant else nearest(key, keys)
    return f"unknown {what} {shown(key)}{hint} (valid: {', '.join(keys[:_MAX_NAMES]) or 'none'}{others})"


def explain(error: ErrorDetails) -> str:
    """Return our message for one of pydantic's errors: the relation that must hold, and the value that broke it."""
    kind, value = error["type"], error["input"]
    if kind in _WHOLE_MESSAGES:
        return _WHOLE_MESSAGES[kind](error)
    if kind in _RELATIONS:
        bound = next(iter(error["ctx"].values()))
        wanted = f"must be {_RELATIONS[kind]} {f'{bound:g}' if isinstance(bound, float) else bound}"
        if _is_radius_in_bytes(error["loc"], value):
            return f"{wanted}, not {shown(value)}: pixels are from 0 to 1; did you mean {value:g}/255?"
    else:
        wanted = _WANTED.get(kind) or error["msg"].replace("Input should", "must")
    return f"{wanted}, not {shown(value)}"


def is_consequence(error: ErrorDetails) -> bool:
    """Return whether one of pydantic's errors only follows from another: a list is empty without its wrong entries."""
    return error["type"] == "too_short" and bool(error["input"])


def _is_radius_in_bytes(place: Path, value: object) -> bool:
    """Return whether a radius is probably meant in bytes, as 8 is where 8/255 is meant."""
    is_radius = any(name in ("epsilon", "perturbation_bound") for name in place)
    return is_radius and isinstance(value, int | float) and 1 < value <= 255


def _unknown_word(error: ErrorDetails) -> str:
    options, value = str(error["ctx"]["expected"]), error["input"]
    words = options.replace(" or ", ", ").replace("'", "").split(", ")
    return f"must be {options}, not {shown(value)}{nearest(str(value), words)}"


_WHOLE_MESSAGES: dict[str, Callable[[ErrorDetails], str]] = {
    "missing": lambda error: "is required",
    "value_error": lambda error: error["msg"].removeprefix("Value error, "),
    "literal_error": _unknown_word,
    "too_short": lambda error: "must not be empty",
    "too_long": lambda error: f"has more than {error['ctx']['max_length']:,} entries",
    "string_too_long": lambda error: f"must have at most {error['ctx']['max_length']:,} characters",
}


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


class UnreadableError(Exception):
    """Raised where reading a file further would cost too much; it has the mistakes that were found so far."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(f"{len(self.mistakes)} mistakes")


class MistakeList(list[Mistake]):
    """A list of mistakes that raises `UnreadableError` when it has more than `MAX_MISTAKES` of them."""

    def append(self, mistake: Mistake) -> None:
        """Add a mistake."""
        super().append(mistake)
        if len(self) > MAX_MISTAKES:
            raise UnreadableError(self)

    def extend(self, mistakes: Iterable[Mistake]) -> None:
        """Add mistakes, one after the other."""
        for mistake in mistakes:
            self.append(mistake)

    def __iadd__(self, mistakes: Iterable[Mistake]) -> Self:  # type: ignore[override, misc]
        self.extend(mistakes)
        return self


class SpaceError(UserError):
    """A search-space file that cannot be used; its text holds the mistakes, one a line, in the file's order.

    All of them are listed, or the first `MAX_MISTAKES` and that there are more.
    """

    def __init__(self, source: str, mistakes: Iterable[Mistake]) -> None:
        self.source = source
        # A mistake that was found twice is listed once; mistakes of one line stay in the order of discovery.
        found = sorted(dict.fromkeys(mistakes), key=lambda mistake: mistake.line or 0)
        self.mistakes = tuple(found[:MAX_MISTAKES])
        lines = [self._sentence(mistake) for mistake in self.mistakes]
        if len(found) > MAX_MISTAKES:
            lines.append(self._sentence(Mistake(None, (), f"more than {MAX_MISTAKES} mistakes: these are the first")))
        super().__init__("\n".join(lines))

    def _sentence(self, mistake: Mistake) -> str:
        source = self.source if self.source.isprintable() else shown(self.source)
        place = source if mistake.line is None else f"{source}:{mistake.line}"
        return ": ".join(part for part in (place, dotted(mistake.path), mistake.message) if part)


def dotted(path: Path) -> str:
    """Return a path as people write it: ``first[0].generator.learning_rate``."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{_key(key)}" for key in path]
    return "".join(parts).removeprefix(".")


def _key(key: str) -> str:
    return key if key.isidentifier() and len(key) <= MAX_SHOWN else shown(key)
