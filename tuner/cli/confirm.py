"""The command that confirms a search: its best configurations again, with fresh seeds, and on test images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from search_spaces.limits import MAX_CONFIRMED, MAX_SEEDS, MAX_WORKERS
from trainables.common.limits import MAX_IMAGES
from tuner.cli.cluster.remote import accept_ray
from tuner.cli.exits import exit_for, exit_for_problems
from tuner.cli.options import AcceptCodeChange, Home, RunDevice, SweepName, open_sweep
from tuner.cli.output import FormatOption, OutputOption, format_of, write_json, write_table
from tuner.cli.results.compare import confirmation_document, print_confirmed
from tuner.errors import INTERRUPTED
from tuner.results.terminal.output import say
from tuner.results.terminal.waiting import waiting

if TYPE_CHECKING:
    from tuner.execution.confirm import ConfirmOptions
    from tuner.sweep.folder import SweepFolder


def confirm(  # noqa: PLR0913, PLR0917  # an argument for each option
    ctx: typer.Context,
    sweep_name: SweepName,
    top: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_CONFIRMED,
            help="How many of the best configurations; by default the space's number.",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=2, max=MAX_SEEDS, help="Fresh seeds for each; by default the space's number. More go on."
        ),
    ] = None,
    baselines: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Names of the sweep's baselines, by commas; by default all. '' for none."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=MAX_IMAGES, help="Only the first so many test images.")
    ] = None,
    tier: Annotated[Literal["rank", "final"], typer.Option(help="final: the strongest attacks, minutes a run.")] = (
        "rank"
    ),
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=MAX_WORKERS, help="Evaluating processes; by default one per core."),
    ] = None,
    device: RunDevice = None,
    accept_code_change: AcceptCodeChange = False,
    output_format: FormatOption = None,
    output: OutputOption = None,
    home_folder: Home = None,
) -> None:
    """Run the best configurations and the baselines again with fresh seeds, and compare them on test images.

    Whatever ends it, the same command goes on where it stands. The exported best run is the winner's from then on.
    """
    from tuner.execution import preflight
    from tuner.execution.confirm import ConfirmOptions
    from tuner.execution.launch import gpu_use

    chosen = format_of(output_format, output)
    insecure = accept_ray(ctx)
    sweep = open_sweep(sweep_name, home_folder)
    is_table = chosen == "table" and output is None
    console = Console(stderr=not is_table, markup=False)
    preflight.check_resources(sweep.space.resources, gpu_use(None, device) or sweep.gpus)
    preflight.ensure_data(sweep.space.dataset, Path(sweep.data) if sweep.data else None, console)
    names = None if baselines is None else [name.strip() for name in baselines.split(",") if name.strip()]
    options = ConfirmOptions(
        top=top,
        num_seeds=seeds,
        baselines=names,
        tier=tier,
        num_images=images,
        workers=workers,
        device=device,
    )
    _confirm(sweep, console, options, accept_code_change=accept_code_change, insecure=insecure)
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep)
    if chosen == "json":
        write_json(confirmation_document(snapshot), output)
    elif is_table:
        print_confirmed(snapshot, console)
    elif snapshot.confirmation is not None:
        from tuner.results.terminal.confirmation import configurations_table

        write_table(configurations_table(snapshot.confirmation), chosen, output, console)
    exit_for_problems(snapshot.problems)


def _confirm(
    sweep: SweepFolder, console: Console, options: ConfirmOptions, *, accept_code_change: bool, insecure: bool
) -> None:
    how_to_go_on = f"`tuner confirm {sweep.name}` goes on where it stands"
    try:
        with waiting(console, "Loading Ray", in_logs=False):
            from tuner.execution.confirm import confirm as confirm_sweep
            from tuner.execution.ray_tune.start import end_ray

        ending = confirm_sweep(sweep, console, options, accept_code_change=accept_code_change, insecure=insecure)
    except KeyboardInterrupt:
        say(console, f"\nInterrupted; {how_to_go_on}")
        raise typer.Exit(INTERRUPTED) from None
    try:
        exit_for(ending, sweep.name, console, how_to_go_on)
    finally:
        end_ray(console)
