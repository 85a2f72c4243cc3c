"""Commands that show the runs of a sweep: all of them as a table, or all that is known of one."""

from __future__ import annotations

from typing import Annotated, get_args

import typer
from rich.console import Console

from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Home, SweepName, open_sweep
from tuner.cli.output import (
    ColumnsOption,
    FormatOption,
    OutputOption,
    SortOption,
    TopOption,
    View,
    default_format,
    format_of,
    write_content,
    write_table,
)
from tuner.cli.shell import completion


def trials(
    sweep_name: SweepName,
    top: TopOption = None,
    sort: SortOption = None,
    columns: ColumnsOption = None,
    output_format: FormatOption = None,
    output: OutputOption = None,
    home_folder: Home = None,
) -> None:
    """Write a row for each run of a sweep: its kind, outcome, last metrics and settings.

    On a terminal it is a table of the settings that differ; in a pipe, CSV with everything.
    """
    chosen = format_of(output_format, output, default_format())
    sweep = open_sweep(sweep_name, home_folder)
    from tuner.results.terminal.runs import runs_table
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep)
    table = View(columns, sort, top).apply(runs_table(snapshot))
    write_table(table, chosen, output, Console(markup=False))
    exit_for_problems(snapshot.problems)


def show(
    sweep_name: SweepName,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            autocompletion=completion.runs,
            help="A trial's number or a baseline; by default the best trial.",
        ),
    ] = None,
    output_format: FormatOption = None,
    output: OutputOption = None,
    home_folder: Home = None,
) -> None:
    """Show all that is known of a run: how it ended, its settings, and what it measured report by report."""
    chosen = format_of(output_format, output)
    sweep = open_sweep(sweep_name, home_folder)
    from tuner.results.selection import choose_run
    from tuner.results.terminal.runs import describe_run, reports_table, run_document
    from tuner.sweep.runs import State
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep, with_rows=True, with_evaluations=True)
    record = choose_run(snapshot, run, get_args(State))
    if chosen == "json":
        write_content(run_document(snapshot, record).encode() + b"\n", output)
    else:
        console = Console(markup=False)
        if chosen == "table" and output is None:
            from tuner.results.terminal.output import say_all

            say_all(console, describe_run(snapshot, record))
        write_table(reports_table(snapshot, record), chosen, output, console, "`--format csv`")
    exit_for_problems(snapshot.problems)
