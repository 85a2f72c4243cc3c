"""How a table fits a width: which columns are shown, and how wide each is.

Numbers are always shown whole. If a table is too wide, words are wrapped and names are shortened in their middle, as
far as different names stay different; if it still is, the columns that matter least are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from tuner.results.terminal.columns import Column

GAP = 2
"""Characters between two columns."""
ELLIPSIS = "…"
_SHORTEST_NAME = 12
_LONGEST_WORD = 40  # a longer one is a path or a checksum: folded if its column cannot be left out


@dataclass(frozen=True)
class Layout:
    """Which columns of a table are shown, and how.

    Attributes:
        shown: their indices, each with its width in characters.
        left_out: indices of the others.
    """

    shown: tuple[tuple[int, int], ...]
    left_out: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Of the whole table."""
        return sum(width for _, width in self.shown) + GAP * (len(self.shown) - 1)


def fit(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int | None) -> Layout:
    """Return how a table fits a width.

    Args:
        columns: of the table.
        cells: of every row.
        width: in characters; None where anything fits.

    Returns:
        The layout. It is wider than asked for if the columns of rank 0 are, by their numbers and shortest names.
    """
    sizes = [_Size.of(column, [row[index] for row in cells]) for index, column in enumerate(columns)]
    indices = list(range(len(columns)))
    while True:
        widths = _shrunk([sizes[index] for index in indices], width)
        layout = Layout(
            tuple(zip(indices, widths, strict=True)), tuple(sorted(set(range(len(columns))) - set(indices)))
        )
        dispensable = [index for index in indices if columns[index].rank > 0]
        if width is None or layout.width <= width or not dispensable:
            return layout
        indices.remove(max(dispensable, key=lambda index: (columns[index].rank, index)))


def shorten(name: str, width: int) -> str:
    """Return a name with so much of its middle replaced by an ellipsis that it has a width."""
    if cell_len(name) <= width:
        return name
    kept = max(width - 1, 2)
    head, tail = kept - kept // 2, kept // 2
    while cell_len(name[:head]) + cell_len(name[-tail:]) + 1 > width and tail > 1:
        head, tail = max(head - 1, 1), tail - 1
    return name[:head] + ELLIPSIS + name[-tail:]


@dataclass(frozen=True)
class _Size:
    """The widths of a column: if there is room, the least that says the same, and that of its whole heading."""

    natural: int
    least: int
    heading: int

    @classmethod
    def of(cls, column: Column, cells: Sequence[str]) -> _Size:
        heading, whole = _longest_word(column.heading), cell_len(column.heading)
        natural = max([heading, *map(cell_len, cells)])
        if column.kind == "number":
            return cls(natural, natural, whole)
        if column.kind == "words":
            least = max([heading, *map(_longest_word, cells)])
            return cls(max(natural, whole), least if column.rank else min(least, _LONGEST_WORD), whole)
        return cls(natural, max(heading, _least_distinct(set(cells), natural)), whole)


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _least_distinct(names: set[str], natural: int) -> int:
    """Return the least width to which different names can be shortened and stay different."""

    def is_distinct(width: int) -> bool:
        return len({shorten(name, width) for name in names}) == len(names)

    return _first_from(min(_SHORTEST_NAME, natural), natural, is_distinct)


def _first_from(low: int, high: int, is_fine: Callable[[int], bool]) -> int:
    return next((number for number in range(low, high) if is_fine(number)), high)


def _shrunk(sizes: Sequence[_Size], width: int | None) -> list[int]:
    """Return the widths of columns: the widest are shrunk first, until all fit or none can be shrunk further."""
    widths = [size.natural for size in sizes]
    if width is None:
        return [max(size.natural, size.heading) for size in sizes]
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    while excess > 0:
        candidates = [index for index, size in enumerate(sizes) if widths[index] > size.least]
        if not candidates:
            break
        widths[max(candidates, key=lambda index: widths[index])] -= 1
        excess -= 1
    return widths
