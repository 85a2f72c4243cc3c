"""How a command prints what it has read: as a table, or as CSV, JSON or Parquet, into a terminal or a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tuner.cli.options import local_only
from tuner.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from tuner.results.terminal.columns import Row, Table

Format = Literal["table", "json", "csv", "parquet"]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="How to write it; by default a table, or what the suffix of --output says."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        callback=local_only,
        help="Write a .csv, .json, .parquet or .txt file; else it is printed.",
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option("--columns", metavar="NAMES", help="Only these, by commas: headings, metrics, settings."),
]
SortOption = Annotated[
    str | None, typer.Option("--sort", metavar="COLUMN", help="Best first; -COLUMN turns the order round.")
]
TopOption = Annotated[
    int | None, typer.Option("--top", metavar="N", min=1, help="Only the first N trials, with all baselines.")
]
HINT = "`--columns` or `--format csv`"
_FORMATS: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table"}


@dataclass(frozen=True)
class View:
    """Which rows and columns of a table are wanted, and in which order: see `ColumnsOption` and the others."""

    columns: str | None = None
    sort: str | None = None
    top: int | None = None

    def apply(self, table: Table) -> Table:
        """Return the wanted part of a table.

        Raises:
            UserError: there is no column of a name.
        """
        if self.sort is not None:
            table = table.sorted_by(self.sort)
        if self.top is not None:
            table = replace(table, rows=tuple(_first_trials(table.rows, self.top)))
        if self.columns is not None:
            names = [name.strip() for name in self.columns.split(",") if name.strip()]
            if not names:
                raise UserError("--columns names no column: separate names by commas, like run,robust,seconds")
            table = table.chosen(names)
        return table


def _first_trials(rows: Sequence[Row], number: int) -> list[Row]:
    trials = [row for row in rows if row.values.get("kind") != "baseline"][:number]
    return [row for row in rows if row.values.get("kind") == "baseline" or row in trials]


def format_of(output_format: Format | None, output: Path | None, default: Format = "table") -> Format:
    """Return the format to write: that of ``--format``, or of the suffix of ``--output``, or the default.

    Raises:
        UserError: the two contradict each other, the suffix says no format, or Parquet would go to a terminal.
    """
    by_suffix = _FORMATS.get(output.suffix.lower()) if output else None
    if output_format and by_suffix and output_format != by_suffix:
        raise UserError(f"--output {output} says {by_suffix}, and --format says {output_format}: leave one of them out")
    if output and not (output_format or by_suffix):
        raise UserError(f"--output {output}: name a file in {', '.join(_FORMATS)}, or add --format")
    chosen = output_format or by_suffix or default
    if chosen == "parquet" and output is None:
        raise UserError("Parquet is not for a terminal: name a file with --output")
    return chosen


def write_table(table: Table, output_format: Format, output: Path | None, console: Console, hint: str = HINT) -> None:
    """Write a table in a format, into a file or to standard output.

    Args:
        table: to be written.
        output_format: see `format_of`.
        output: the file; None for standard output.
        console: what a table is printed on.
        hint: see `tuner.results.terminal.output.print_table`.

    Raises:
        UserError: the file cannot be written.
    """
    if output_format == "table":
        if output is None:
            from tuner.results.terminal.output import print_table

            print_table(table, console, hint)
        else:
            write_content(_plain_text(table).encode(), output)
        return
    from tuner.results.frames import encode_frame

    write_content(encode_frame(_frame(table), output_format), output)


def json_rows(table: Table) -> list[dict[str, object]]:
    """Return the rows of a table as `write_table` writes them into JSON."""
    from tuner.results.frames import plain_rows

    return plain_rows(_frame(table))


def _frame(table: Table) -> pd.DataFrame:
    from tuner.results.frames import frame_of

    keys = table.keys()
    rows = [{key: row.values.get(key) for key in keys} for row in table.rows]
    return frame_of(rows, keys if table.are_chosen else table.first_keys)


def write_json(document: Mapping[str, object] | None, output: Path | None) -> None:
    """Write a JSON document: see `write_content`."""
    from trainables.common.valid_json import dump_json

    write_content(dump_json(document).encode() + b"\n", output)


def write_content(content: bytes, output: Path | None) -> None:
    """Write what a command has to say into a file, which appears whole and is named, or to standard output.

    Raises:
        UserError: the file cannot be written.
    """
    if output is None:
        typer.echo(content, nl=False)
        return
    from trainables.storage.atomic import reason_of, write_whole

    try:
        write_whole(output, content)
    except OSError as error:
        raise UserError(f"cannot write {output}: {reason_of(error)}") from error
    typer.echo(output)


def _plain_text(table: Table) -> str:
    from io import StringIO

    from rich.console import Console

    from tuner.results.terminal.output import print_table

    text = Console(file=StringIO(), markup=False)
    print_table(table, text)
    written = text.file
    assert isinstance(written, StringIO)  # noqa: S101
    return written.getvalue()


def default_format() -> Format:
    """Return the format of a long table: a table on a terminal, CSV in a pipe."""
    return "table" if sys.stdout.isatty() else "csv"
