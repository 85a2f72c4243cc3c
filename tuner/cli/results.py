"""Commands that read a sweep, finished or running; they need neither Ray nor MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from tuner.cli.exits import exit_for_problems
from tuner.cli.monitor import console
from tuner.cli.options import Home, SweepName, table_console
from tuner.errors import MISTAKE, UserError
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home

if TYPE_CHECKING:
    from tuner.sweep.snapshot import Snapshot

RunName = Annotated[
    str | None, typer.Option("--run", help="A trial's number or a baseline; by default the best trial.")
]


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
    from tuner.results.confirmation_tables import configurations_table, confirmation_sentences, differences_table
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


def draw(
    sweep_name: SweepName,
    run: RunName = None,
    output: Annotated[Path | None, typer.Option(help="Folder to make; by default pictures/SWEEP-RUN.")] = None,
    home_folder: Home = None,
) -> None:
    """Draw a run: images under attack, accuracies, losses, ratio, and accuracy by epsilon beside the baselines.

    The exit code is 2 if one of the pictures could not be drawn.
    """
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.results.draw import write_pictures
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep, with_rows=True)
    snapshot.require_whole()
    folder, missing = write_pictures(snapshot, output, run)
    for picture in sorted(folder.iterdir()):
        typer.echo(picture)
    for what in missing:
        typer.echo(f"not drawn: {what}", err=True)
    if missing:
        raise typer.Exit(MISTAKE)


def export(
    sweep_name: SweepName,
    run: RunName = None,
    output: Annotated[Path | None, typer.Option(help="Folder to make; by default exports/SWEEP-RUN.")] = None,
    home_folder: Home = None,
) -> None:
    """Write a run's configuration, weights, metrics and provenance as a folder that stands alone."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.results.export import export_run
    from tuner.sweep.snapshot import read_snapshot

    typer.echo(export_run(read_snapshot(sweep), output, run))


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


def replay(
    sweep_name: SweepName,
    pruner: Annotated[str, typer.Option(help="As in a space: median, or '{successive_halving: {min_resource: 2}}'.")],
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print it.")] = "text",
    home_folder: Home = None,
) -> None:
    """Replay a sweep's learning curves with another pruner: what it would have saved, and what lost."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.search.replay import read_pruner, replay_sentences, replay_trials
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep, with_rows=True)
    result = replay_trials(snapshot, read_pruner(pruner))
    if output_format == "json":
        typer.echo(result.to_json())
    else:
        for line in replay_sentences(result):
            console.print(line, soft_wrap=True, highlight=False)
    exit_for_problems(snapshot.problems)


def verify(
    sweep_name: SweepName,
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print it.")] = "text",
    home_folder: Home = None,
) -> None:
    """Check every file of a sweep: checksums, metrics against the study, checkpoints, results. Exit code 0 or 2."""
    from tuner.results.verify import verify_sweep

    verification = verify_sweep(sweep_name, home(home_folder))
    if output_format == "json":
        typer.echo(verification.to_json())
    else:
        for line in verification.lines:
            console.print(line, soft_wrap=True, highlight=False)
    if verification.problems:
        raise typer.Exit(MISTAKE)
