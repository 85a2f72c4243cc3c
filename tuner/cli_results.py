"""Commands on a finished or running sweep: compare, draw and export. They need neither Ray nor a live MLflow server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from tuner.errors import UserError
from tuner.options import Home, SweepName, wide
from tuner.sweep import Sweep, home

RunName = Annotated[
    str | None, typer.Option("--run", help="A trial's number or a baseline; by default the best trial.")
]


def print_comparison(sweep: Sweep, console: Console) -> None:
    """Print the table of a sweep and what may be said of it."""
    from tuner import repeats
    from tuner.compare import table, verdict

    whole = wide(console)
    whole.print(table(sweep))
    if sweep.num_seeds > 1:
        whole.print(repeats.table(sweep))
    for line in verdict(sweep):
        console.print(line, soft_wrap=True, highlight=False)
    print_confirmed(sweep, console)


def print_confirmed(sweep: Sweep, console: Console) -> None:
    """Print what confirming a sweep found; nothing if it has not been confirmed."""
    from tuner import confirm_report
    from tuner.confirm_plan import newer_leaders
    from tuner.confirmed import read_confirmed

    found = read_confirmed(sweep)
    if found is None:
        return
    wide(console).print(confirm_report.configurations_table(found))
    if found["differences"]:
        wide(console).print(confirm_report.differences_table(found))
    for line in confirm_report.sentences(found):
        console.print(line, soft_wrap=True, highlight=False)
    newer = newer_leaders(sweep, [one["name"] for one in found["configurations"]])
    if newer:
        said = f"The search has found better since: {', '.join(newer[: found['top']])}"
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
    sweep = Sweep.open(sweep_name, home=home(home_folder))
    if output_format == "table":
        print_comparison(sweep, Console(markup=False))
    else:
        from tuner import frames
        from tuner.compare import ranked

        typer.echo(frames.encode(frames.frame(ranked(sweep)), output_format), nl=False)
    if picture is not None:
        from tuner.report import draw

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
    sweep = Sweep.open(sweep_name, home=home(home_folder))
    from tuner.report import write_pictures

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
    sweep = Sweep.open(sweep_name, home=home(home_folder))
    from tuner.export import export as write

    typer.echo(write(sweep, output, run))
