"""A mistake in a search-space file, and the error that tells of all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from search_spaces.wording import shown

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Mistake:
    """Something wrong in a file: the line (where known), the keys that lead there, and what to do."""

    line: int | None
    path: Path
    message: str


class SpaceError(ValueError):
    """A search-space file that cannot be used; its text holds every mistake, one a line, in the file's order."""

    def __init__(self, source: str, mistakes: Iterable[Mistake]) -> None:
        self.source = source
        # A mistake found twice is said once; the order of discovery breaks ties.
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
