"""Commands that train: a new sweep, the rest of a sweep, or one configuration in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from search_spaces.sections import TRIALS_LIMIT
from tuner.cli.cluster.remote import accept_ray
from tuner.cli.exits import exit_for, exit_for_problems
from tuner.cli.options import AcceptCodeChange, Data, Detach, Home, MaxConcurrent, StudyStorage, SweepName
from tuner.cli.results.compare import print_comparison
from tuner.errors import INTERRUPTED
from tuner.sweep import control
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home

console = Console(markup=False)  # paths and messages may hold brackets


def launch(
    ctx: typer.Context,
    space: Annotated[str, typer.Argument(help="A packaged space (`tuner spaces list`) or a YAML file.")],
    name: Annotated[str | None, typer.Option(help="The sweep's name; by default that of the space.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, max=TRIALS_LIMIT, help="Trials, instead of the space's number.")
    ] = None,
    warm_start: Annotated[
        list[str] | None, typer.Option("--warm-start", metavar="SWEEP", help="Begin with an earlier sweep's trials.")
    ] = None,
    max_concurrent: MaxConcurrent = None,
    detach: Detach = False,
    home_folder: Home = None,
    study_storage: StudyStorage = None,
    data: Data = None,
) -> None:
    """Start a sweep: search the space on Ray, with its baselines beside it."""
    from tuner.execution.launch import LaunchOptions, new_sweep

    insecure = accept_ray(ctx)
    options = LaunchOptions(
        name=name,
        trials=trials,
        data=data,
        warm_start=warm_start or (),
        study_storage=study_storage,
        max_concurrent=max_concurrent,
    )
    sweep = new_sweep(space, home(home_folder), console, options)
    console.print(f"Sweep {sweep.name} in {sweep.place}", soft_wrap=True, highlight=False)
    _drive(sweep, detach, insecure)


def resume(
    ctx: typer.Context,
    sweep_name: SweepName,
    trials: Annotated[
        int | None, typer.Option(min=1, max=TRIALS_LIMIT, help="Extend the sweep to this many trials.")
    ] = None,
    max_concurrent: MaxConcurrent = None,
    accept_code_change: AcceptCodeChange = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="First train runs again whose metrics or last checkpoint is damaged.")
    ] = False,
    detach: Detach = False,
    home_folder: Home = None,
    ready_fd: Annotated[int | None, typer.Option(hidden=True, help="Told when this driver has started.")] = None,
) -> None:
    """Continue a sweep whatever has ended it, extend it, or end the pause of its driver."""
    from tuner.execution.launch import prepare_resume

    insecure = accept_ray(ctx)
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    if trials is None and max_concurrent is None and not repair and control.end_pause(sweep):
        console.print(f"{sweep.name} goes on; `tuner watch {sweep.name}` shows it", soft_wrap=True, highlight=False)
        return
    sweep = prepare_resume(
        sweep, console, trials=trials, max_concurrent=max_concurrent, accept_code_change=accept_code_change
    )
    _drive(sweep, detach, insecure, ready_fd, repair=repair)


def copy(
    sweep_name: SweepName,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="The name of the copy, in the same home.")],
    home_folder: Home = None,
) -> None:
    """Copy a sweep, with everything it holds, to one of its own: `tuner resume NEW` leaves the original as it is."""
    from tuner.execution.copying import copy_sweep

    copied = copy_sweep(SweepFolder.open(sweep_name, home=home(home_folder)), new_name)
    text = f"{copied.name} in {copied.place}; `tuner resume {copied.name}` goes on where {sweep_name} stood"
    console.print(text, soft_wrap=True, highlight=False)


def _drive(
    sweep: SweepFolder, detach: bool, insecure: bool, ready_fd: int | None = None, *, repair: bool = False
) -> None:
    how_to_go_on = f"`tuner resume {sweep.name}` goes on where it stands"
    if detach:
        from tuner.execution.launch import start_detached

        pid = start_detached(sweep, repair=repair, insecure=insecure)
        first = "looks for damaged runs, trains them again and then " if repair else ""
        how = f"`tuner watch {sweep.name}` shows how, `tuner stop {sweep.name}` ends it"
        text = f"Process {pid} {first}goes on with it: {how}"
        console.print(text, soft_wrap=True, highlight=False)
        return
    try:
        from tuner.execution.launch import report_ready
        from tuner.execution.search import search

        waiting = [] if ready_fd is None else [ready_fd]

        def on_start() -> None:
            if waiting:
                report_ready(waiting.pop())

        if repair:
            from tuner.execution.repair import repair_runs

            repair_runs(sweep, console, on_start, insecure=insecure)
        ending = search(sweep, console, on_start, insecure=insecure)
    except KeyboardInterrupt:
        console.print(f"\nInterrupted; {how_to_go_on}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    exit_for(ending, sweep.name, console, how_to_go_on)
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep)
    print_comparison(snapshot, console)
    console.print(
        f"`tuner export {sweep.name}` writes the best configuration; `tuner ui {sweep.name}` shows every run",
        soft_wrap=True,
    )
    exit_for_problems(snapshot.problems)


def train(
    configuration: Annotated[
        str,
        typer.Argument(help="A trainable or published configuration (`tuner spaces list`), a JSON file or a bundle."),
    ],
    assign: Annotated[list[str] | None, typer.Option("--set", help="Like classifier.learning_rate=0.01.")] = None,
    output: Annotated[Path, typer.Option(help="The bundle to write.")] = Path("exports/trained"),
    data: Data = None,
) -> None:
    """Train one configuration in this process, without Ray, and write its bundle."""
    from tuner.execution import preflight, single

    preflight.check_data_folder(data)
    settings = single.read_configuration(configuration, assign or [])
    preflight.ensure_data(settings["dataset"]["name"], data, Console(stderr=True))
    typer.echo(single.train(settings, output, data, _print_report))


def _print_report(metrics: dict[str, float]) -> None:
    shown = {name: value for name, value in metrics.items() if name not in ("step", "train_s", "evaluation_s")}
    typer.echo("  ".join(f"{name} {value:.3f}" for name, value in shown.items()))
