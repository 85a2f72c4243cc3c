"""Commands that read a sweep, finished or running; they need neither Ray nor MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from tuner.cli.monitor import console
from tuner.cli.options import Home, SweepName, table_console
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder, home

RunName = Annotated[
    str | None, typer.Option("--run", help="A trial's number or a baseline; by default the best trial.")
]


def print_comparison(sweep: SweepFolder, console: Console) -> None:
    """Print the table of a sweep, the sentences that follow from it, and what confirming it has found."""
    from tuner.results import seeds
    from tuner.results.compare import table, verdict

    whole = table_console(console)
    whole.print(table(sweep))
    if sweep.num_seeds > 1:
        whole.print(seeds.table(sweep))
    for line in verdict(sweep):
        console.print(line, soft_wrap=True, highlight=False)
    print_confirmed(sweep, console)


def print_confirmed(sweep: SweepFolder, console: Console) -> None:
    """Print what confirming a sweep found; nothing if it has not been confirmed."""
    from tuner.results.confirmation_tables import configurations_table, confirmation_sentences, differences_table
    from tuner.search.confirmation import newer_leaders
    from tuner.sweep.confirmation import read_confirmation

    confirmation = read_confirmation(sweep)
    if confirmation is None:
        return
    table_console(console).print(configurations_table(confirmation))
    if confirmation.differences:
        table_console(console).print(differences_table(confirmation))
    for line in confirmation_sentences(confirmation):
        console.print(line, soft_wrap=True, highlight=False)
    newer = newer_leaders(sweep, [configuration.name for configuration in confirmation.configurations])
    if newer:
        said = f"The search has found better since: {', '.join(newer[: confirmation.top])}"
        console.print(f"{said}; `tuner confirm {sweep.name}` takes it in.", soft_wrap=True, highlight=False)


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
    if output_format == "table":
        print_comparison(sweep, Console(markup=False))
    else:
        from tuner.results import frames
        from tuner.results.compare import ranked

        typer.echo(frames.encode(frames.frame(ranked(sweep)), output_format), nl=False)
    if picture is not None:
        from tuner.results.draw import draw

        try:
            drawn = draw(sweep, picture)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot draw {picture}: {error}") from error
        typer.echo(f"picture: {drawn}" if drawn else "nothing to draw yet: no run has reported", err=True)


def draw(
    sweep_name: SweepName,
    run: RunName = None,
    output: Annotated[Path | None, typer.Option(help="Folder to make; by default pictures/SWEEP-RUN.")] = None,
    home_folder: Home = None,
) -> None:
    """Draw a run: images under attack, accuracies, losses, ratio, and accuracy by epsilon beside the baselines."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.results.draw import write_pictures

    folder, missing = write_pictures(sweep, output, run)
    for picture in sorted(folder.iterdir()):
        typer.echo(picture)
    for what in missing:
        typer.echo(f"not drawn: {what}", err=True)


def export(
    sweep_name: SweepName,
    run: RunName = None,
    output: Annotated[Path | None, typer.Option(help="Folder to make; by default exports/SWEEP-RUN.")] = None,
    home_folder: Home = None,
) -> None:
    """Write a run's configuration, weights, metrics and provenance as a folder that stands alone."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.results.export import export as write

    typer.echo(write(sweep, output, run))


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
    from tuner.results import frames
    from tuner.sweep.reader import read_records

    if output is None:
        typer.echo(frames.encode(frames.frame(read_records(sweep)), output_format), nl=False)
    else:
        typer.echo(frames.write(sweep, output_format, output))


def replay(
    sweep_name: SweepName,
    pruner: Annotated[str, typer.Option(help="As in a space: median, or '{successive_halving: {min_resource: 2}}'.")],
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print it.")] = "text",
    home_folder: Home = None,
) -> None:
    """Replay a sweep's learning curves with another pruner: what it would have saved, and what lost."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.search import replay as replaying

    result = replaying.replay(sweep, replaying.read_pruner(pruner))
    if output_format == "json":
        typer.echo(json.dumps(result, indent=2))
        return
    for line in replaying.lines(result):
        console.print(line, soft_wrap=True, highlight=False)
