"""Commands that make files of a run: its pictures, and a folder that stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from search_spaces.limits import MAX_CONFIRMED
from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Device, Home, SweepName, local_only, open_sweep
from tuner.cli.shell import completion
from tuner.errors import MISTAKE, UserError

RunName = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        autocompletion=completion.runs,
        help="A trial's number or a baseline; by default the best trial.",
    ),
]


def draw(
    sweep_name: SweepName,
    run: RunName = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            callback=local_only,
            help="Folder to make; by default pictures/SWEEP-RUN.",
        ),
    ] = None,
    device: Device = None,
    home_folder: Home = None,
) -> None:
    """Draw a run: images under attack, accuracies, losses, ratio, and accuracy by epsilon beside the baselines.

    The exit code is 2 if one of the pictures could not be drawn.
    """
    sweep = open_sweep(sweep_name, home_folder)
    from tuner.execution.preflight import choose_device
    from tuner.results.pictures.draw import write_pictures
    from tuner.results.terminal.output import say
    from tuner.results.terminal.waiting import waiting
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep, with_rows=True)
    snapshot.require_whole()
    chosen = choose_device(device)
    errors = Console(stderr=True, markup=False)
    with waiting(errors, "Drawing", in_logs=False):
        folder, missing = write_pictures(snapshot, output, run, chosen)
    for picture in sorted(folder.iterdir()):
        typer.echo(picture)
    for what in missing:
        say(errors, f"not drawn: {what}")
    if missing:
        raise typer.Exit(MISTAKE)


def export(
    sweep_name: SweepName,
    run: RunName = None,
    top: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=MAX_CONFIRMED, help="The N best trials, a folder for each, not one run."),
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="Every trial of the front of a sweep with several objectives.")
    ] = False,
    as_space: Annotated[
        bool,
        typer.Option("--as-space", help="Also write space.yaml: the sweep's space, which begins with this run."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            callback=local_only,
            help="Folder to make; by default exports/SWEEP-RUN. With --top or --front the one that gets the folders.",
        ),
    ] = None,
    home_folder: Home = None,
) -> None:
    """Write a run's configuration, weights, metrics and provenance as a folder that stands alone.

    `tuner train` takes the folder, and so do `first` and `baselines` of another space: {bundle: FOLDER}.
    """
    if sum((run is not None, top is not None, front)) > 1:
        raise UserError("--run, --top and --front each say what is exported: give one of them")
    sweep = open_sweep(sweep_name, home_folder)
    from tuner.results.bundles.export import export_run, export_several
    from tuner.results.selection import choose_top
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep)
    if top is None and not front:
        folders = [export_run(snapshot, output, run, as_space=as_space)]
    else:
        folders = export_several(snapshot, choose_top(snapshot, top), output, as_space=as_space)
    for folder in folders:
        typer.echo(folder)


def report(
    sweep_name: SweepName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            callback=local_only,
            help="File to write; by default reports/SWEEP.html.",
        ),
    ] = None,
    images: Annotated[
        bool,
        typer.Option(
            "--images/--no-images", help="Attack images with the best classifier and the baselines: some seconds each."
        ),
    ] = True,
    home_folder: Home = None,
) -> None:
    """Write a report that explains a sweep: one HTML file, which opens in a browser without a network."""
    sweep = open_sweep(sweep_name, home_folder)
    from tuner.results.report.page import write_report
    from tuner.results.terminal.waiting import waiting
    from tuner.sweep.snapshot import read_snapshot

    with waiting(Console(stderr=True, markup=False), "Making the report", in_logs=False):
        snapshot = read_snapshot(sweep, with_rows=True, with_evaluations=True)
        written = write_report(snapshot, output, with_images=images)
    typer.echo(written)
    exit_for_problems(snapshot.problems)
