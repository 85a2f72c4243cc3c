"""The command that compares the runs of a sweep, and what others print of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Home, SweepName, table_console
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home

if TYPE_CHECKING:
    from tuner.sweep.snapshot import Snapshot


def print_comparison(snapshot: Snapshot, console: Console) -> None:
    """Print the table of a sweep, what follows from it, and the result of confirming it."""
    from tuner.results.compare import comparison_sentences, comparison_table
    from tuner.results.seeds import has_several_seeds, seeds_table

    whole = table_console(console)
    whole.print(comparison_table(snapshot))
    if has_several_seeds(snapshot):
        whole.print(seeds_table(snapshot))
    for line in comparison_sentences(snapshot):
        console.print(line, soft_wrap=True, highlight=False)
    print_confirmed(snapshot, console)


def print_confirmed(snapshot: Snapshot, console: Console) -> None:
    """Print the result of confirming a sweep; nothing if it has not been confirmed."""
    from tuner.results.terminal.confirmation import configurations_table, confirmation_sentences, differences_table
    from tuner.search.confirmation import newer_leaders

    confirmation = snapshot.confirmation
    if confirmation is None:
        return
    table_console(console).print(configurations_table(confirmation))
    if confirmation.differences:
        table_console(console).print(differences_table(confirmation))
    for line in confirmation_sentences(confirmation):
        console.print(line, soft_wrap=True, highlight=False)
    newer = newer_leaders(
        snapshot.space, snapshot.records, [configuration.name for configuration in confirmation.configurations]
    )
    if newer:
        said = f"The search has found better since: {', '.join(newer[: confirmation.top])}"
        console.print(f"{said}; `tuner confirm {snapshot.name}` takes it in.", soft_wrap=True, highlight=False)


def compare(
    sweep_name: SweepName,
    output_format: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="How to print it.")
    ] = "table",
    picture: Annotated[Path | None, typer.Option(help="Also draw accuracy by compute into this PNG.")] = None,
    home_folder: Home = None,
) -> None:
    """Compare a sweep's trials with its baselines."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep, with_rows=picture is not None)
    if output_format == "table":
        print_comparison(snapshot, Console(markup=False))
    else:
        from tuner.results.compare import rank_runs
        from tuner.results.frames import encode_frame, runs_frame

        typer.echo(encode_frame(runs_frame(rank_runs(snapshot)), output_format), nl=False)
    if picture is not None:
        from tuner.results.draw import draw_comparison

        snapshot.require_whole()
        try:
            drawn = draw_comparison(snapshot, picture)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot draw {picture}: {error}") from error
        typer.echo(f"picture: {drawn}" if drawn else "nothing to draw yet: no run has reported", err=True)
    exit_for_problems(snapshot.problems)
