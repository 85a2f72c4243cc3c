"""What a report is made of: sections with sentences, tables, charts and pictures."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.results.terminal.columns import Row, Table, cells

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Chart:
    """An interactive chart.

    Attributes:
        title: above it.
        figure: without a title of its own.
        note: below it; how to read it, and what was left out.
        height: in pixels.
        min_width: in pixels, for charts that are not legible below; a narrower page scrolls them sideways.
    """

    title: str
    figure: Figure
    note: str = ""
    height: int = 380
    min_width: int = 0


@dataclass(frozen=True)
class Picture:
    """A PNG with its title."""

    title: str
    content: bytes

    @classmethod
    def read(cls, title: str, path: Path) -> Picture:
        """Return a picture from its file."""
        return cls(title, path.read_bytes())

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return f"data:image/png;base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class HtmlTable:
    """A table as a page shows it.

    Attributes:
        title: above it.
        headings: of the columns; the first names the rows.
        rows: of texts, each with the class of its style.
        note: below it.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    note: str = ""

    @classmethod
    def of(cls, table: Table, rows: tuple[Row, ...] | None = None, note: str = "") -> HtmlTable:
        """Return a table of a terminal, with all of its columns.

        Args:
            table: the table.
            rows: of it; by default all.
            note: below it, beside the table's own.
        """
        shown = Table(table.title, table.columns, table.rows if rows is None else rows)
        texts = zip(shown.rows, cells(shown), strict=True)
        return cls(
            table.title,
            tuple(column.heading for column in table.columns),
            tuple((row.style or "", tuple(text)) for row, text in texts),
            ". ".join(part for part in (table.note, note) if part),
        )


@dataclass
class Section:
    """A part of a report under one heading.

    Attributes:
        anchor: its name in links.
        title: its heading.
        sentences: below it.
        tables: then these.
        charts: then these, side by side where the page is wide enough.
        pictures: then these.
        text: at its end, to be shown as it is.
    """

    anchor: str
    title: str
    sentences: list[str] = field(default_factory=list)
    tables: list[HtmlTable] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    text: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing below its heading."""
        return not (self.sentences or self.tables or self.charts or self.pictures or self.text)
