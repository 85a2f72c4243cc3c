"""Commands that show the runs of a sweep: all of them as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Home, SweepName
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home


def trials(
    sweep_name: SweepName,
    output_format: Annotated[
        Literal["csv", "json", "parquet"], typer.Option("--format", help="How to write it.")
    ] = "csv",
    output: Annotated[Path | None, typer.Option(help="The file to write; by default it is printed.")] = None,
    home_folder: Home = None,
) -> None:
    """Write a table with one row per run of a sweep: its kind, outcome, last metrics and settings."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    if output is None and output_format == "parquet":
        raise UserError("Parquet is not for a terminal: name a file with --output")
    from tuner.results.frames import encode_frame, runs_frame, write_frame
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep)
    table = runs_frame(snapshot.records)
    if output is None:
        typer.echo(encode_frame(table, output_format), nl=False)
    else:
        typer.echo(write_frame(table, output_format, output))
    exit_for_problems(snapshot.problems)
