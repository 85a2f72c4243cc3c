"""A table as data: typed rows, and columns that say how each is shown, how much it matters, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Literal, TypeAlias

from search_spaces.errors import MAX_SHOWN
from trainables.evaluation.metrics import Metric, all_metrics, is_accuracy, metric_named
from tuner.errors import UserError
from tuner.results.frames import SETTINGS

Values: TypeAlias = Mapping[str, object]
Kind = Literal["name", "number", "words"]
NOTHING = "-"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: of the value of a row that it shows, and that files and ``--columns`` call it by.
        heading: above it in a terminal.
        kind: a ``number`` is always shown whole, a ``name`` can be shortened in its middle, ``words`` can be wrapped.
        rank: of two columns that do not both fit, the one with the higher rank is left out; one of rank 0 never is.
        text: of a row's values; by default that of the value of its key.
        better: which end of it is sorted first; None for text and for numbers that are neither good nor bad.
        also: keys of further values that its text shows, so that files have them beside it.
    """

    key: str
    heading: str
    kind: Kind = "number"
    rank: int = 0
    text: Callable[[Values], str] | None = None
    better: Literal["max", "min"] | None = None
    also: tuple[str, ...] = ()

    def cell(self, values: Values) -> str:
        """Return what a row of these values shows in this column."""
        return plain(values.get(self.key)) if self.text is None else self.text(values)


@dataclass(frozen=True)
class Row:
    """A row of a table: values by key, those that no column shows among them, and its style in a terminal."""

    values: Values
    style: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows, and the columns that show them.

    Attributes:
        title: above it in a terminal.
        columns: that are shown.
        rows: all have the same keys, or lack some.
        others: further columns that can be chosen.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    others: tuple[Column, ...] = field(default=())
    note: str = ""
    """Below it in a terminal."""
    first_keys: tuple[str, ...] = ()
    """Keys of values that come first in a file, and are there without any row."""
    are_chosen: bool = False
    """Whether somebody has asked for these columns, so that files have no others."""

    def chosen(self, names: Iterable[str]) -> Table:
        """Return this table with the named columns alone, in this order.

        Args:
            names: keys or headings of columns, or keys of values; a setting may be named without its prefix.

        Raises:
            UserError: there is no column of a name; the message has the nearest one.
        """
        columns = tuple(replace(self._column(name), rank=0) for name in names)
        return replace(self, columns=columns, are_chosen=True)

    def sorted_by(self, name: str) -> Table:
        """Return this table sorted by a column, best first; rows without a value come last.

        Args:
            name: as in `chosen`; with a ``-`` before it, the order is reversed.

        Raises:
            UserError: see `chosen`.
        """
        column = self._column(name.removeprefix("-"))
        is_descending = (column.better == "max") != name.startswith("-")
        with_value = [row for row in self.rows if row.values.get(column.key) is not None]
        without = [row for row in self.rows if row.values.get(column.key) is None]
        with_value.sort(key=lambda row: _order(row.values[column.key]), reverse=is_descending)
        return replace(self, rows=(*with_value, *without))

    def keys(self) -> list[str]:
        """Return the keys of the values that belong into a file: those of the chosen columns, or of all rows."""
        shown = [key for column in self.columns for key in (column.key, *column.also)]
        return shown if self.are_chosen else list(dict.fromkeys(key for row in self.rows for key in row.values))

    def _column(self, name: str) -> Column:
        known = {column.key: column for column in (*self.columns, *self.others)}
        by_heading = {column.heading.lower(): column for column in reversed(known.values())}
        keys = dict.fromkeys(key for row in self.rows for key in row.values)
        former = {f"{key}_accuracy": key for key in (*known, *keys)}
        for key in (name, SETTINGS + name, former.get(name, name)):
            if key in known:
                return known[key]
            if key in keys:
                return column_of(key)
        if name.lower() in by_heading:
            return by_heading[name.lower()]
        names = list(dict.fromkeys([*(column.heading for column in known.values()), *known, *keys]))
        close = get_close_matches(name[:MAX_SHOWN], [each.removeprefix(SETTINGS) for each in names], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        shown = ", ".join(column.heading for column in self.columns)
        raise UserError(f"there is no column {name!r}{hint} There are {shown}; `--format json` names all others")


def column_of(key: str) -> Column:
    """Return the column of a value by its key alone: of a metric, a setting or anything else."""
    if key.startswith(SETTINGS):
        return Column(key, key.removeprefix(SETTINGS))
    if key in all_metrics() or is_accuracy(key):
        return metric_column(metric_named(key))
    return Column(key, key.replace("_", " "))


def metric_column(metric: Metric, rank: int = 0, heading: str = "") -> Column:
    """Return the column of a metric; shares of the images are in percent."""
    text: Callable[[Values], str] | None = None
    if metric.is_share:

        def text(values: Values) -> str:
            return percent(values.get(metric.name))

    return Column(metric.name, heading or metric.label, rank=rank, text=text, better=metric.better)


def plain(value: object) -> str:
    """Return a value as text: numbers in a few digits, those of five to nine digits whole."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def percent(value: object, digits: int = 1) -> str:
    """Return a share in percent."""
    return f"{100 * value:.{digits}f}" if isinstance(value, int | float) else NOTHING


def fixed(key: str, digits: int = 1) -> Callable[[Values], str]:
    """Return what shows the number of a key with so many digits after the point."""

    def text(values: Values) -> str:
        value = values.get(key)
        return f"{value:.{digits}f}" if isinstance(value, int | float) else NOTHING

    return text


def _order(value: object) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if isinstance(value, int | float) else 0.0, "" if is_number else str(value)


def cells(table: Table) -> list[Sequence[str]]:
    """Return the text of every cell, row by row."""
    return [[column.cell(row.values) for column in table.columns] for row in table.rows]
