"""Commands that train: a new sweep, the rest of a sweep, or one configuration in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from search_spaces.limits import MAX_CONCURRENT, TRIALS_LIMIT
from trainables.common.words import counted
from tuner.cli.cluster.remote import accept_ray
from tuner.cli.exits import exit_for, exit_for_problems
from tuner.cli.options import (
    AcceptCodeChange,
    Data,
    Detach,
    Device,
    Gpus,
    Home,
    MaxConcurrent,
    RunDevice,
    StudyStorage,
    SweepName,
    local_only,
    open_home,
    open_sweep,
)
from tuner.cli.results.compare import print_comparison
from tuner.cli.shell import completion
from tuner.errors import INTERRUPTED, UserError
from tuner.results.terminal.output import say, say_all
from tuner.results.terminal.waiting import counting, waiting

if TYPE_CHECKING:
    from tuner.execution.launch import LaunchOptions
    from tuner.sweep.folder import SweepFolder

console = Console(markup=False)  # paths and messages may hold brackets


def launch(  # noqa: PLR0913, PLR0917  # an argument for each option
    ctx: typer.Context,
    space: Annotated[
        str,
        typer.Argument(
            metavar="SPACE",
            autocompletion=completion.spaces,
            help="A packaged space (`tuner spaces list`) or a YAML file.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The sweep's name; by default that of the space.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=TRIALS_LIMIT, help="Trials, instead of the space's number.")
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            autocompletion=completion.space_settings,
            help="Instead of what the space says, like budget.trials=20 or generator.width=32.",
        ),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            "--warm-start",
            metavar="SWEEP",
            autocompletion=completion.sweeps,
            help="Begin with an earlier sweep's trials.",
        ),
    ] = None,
    max_concurrent: MaxConcurrent = None,
    gpus: Gpus = None,
    device: RunDevice = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would run, for how long, with how much memory, on what.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run code that the space names and that does not lie beside it.")
    ] = False,
    detach: Detach = False,
    home_folder: Home = None,
    study_storage: StudyStorage = None,
    data: Data = None,
) -> None:
    """Start a sweep: search the space on Ray, with its baselines beside it."""
    from tuner.execution.launch import LaunchOptions, new_sweep

    options = LaunchOptions(
        name=name,
        trials=trials,
        data=data,
        warm_start=warm_start or (),
        study_storage=study_storage,
        max_concurrent=max_concurrent,
        gpus=gpus,
        device=device,
        assignments=assign or (),
        trust=trust,
    )
    if dry_run:
        _say_what_would_run(space, options, home_folder)
        return
    insecure = accept_ray(ctx)
    sweep = new_sweep(space, open_home(home_folder), console, options)
    say(console, f"Sweep {sweep.name} in {sweep.place}")
    _drive(sweep, detach, insecure)


def _say_what_would_run(space: str, options: LaunchOptions, home_folder: str | None) -> None:
    from tuner.execution.estimate import estimate, estimate_lines
    from tuner.execution.launch import prepare_launch
    from tuner.execution.ray_tune.placing import preview_placement

    store = open_home(home_folder)
    prepared = prepare_launch(space, store, options, console)
    parsed, data = prepared.space, prepared.data
    runs = min(options.trials or parsed.num_trials, options.max_concurrent or MAX_CONCURRENT)
    with waiting(console, "Looking for GPUs", in_logs=False):
        placement = preview_placement(parsed, options.gpu_use, runs, data)
    found = estimate(parsed, options.trials, data, options.max_concurrent, placement=placement)
    say_all(console, estimate_lines(parsed, found, prepared.name, str(store), placement))


def resume(  # noqa: PLR0913, PLR0917  # an argument for each option
    ctx: typer.Context,
    sweep_name: SweepName,
    trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=TRIALS_LIMIT, help="Extend the sweep to this many trials.")
    ] = None,
    max_concurrent: MaxConcurrent = None,
    gpus: Gpus = None,
    device: RunDevice = None,
    accept_code_change: AcceptCodeChange = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="First train runs again whose metrics or last checkpoint is damaged.")
    ] = False,
    detach: Detach = False,
    home_folder: Home = None,
    ready_fd: Annotated[int | None, typer.Option(hidden=True, help="Told when this driver has started.")] = None,
) -> None:
    """Continue a sweep whatever has ended it, extend it, or end the pause of its driver."""
    from tuner.execution.launch import gpu_use, prepare_resume
    from tuner.sweep import control

    insecure = accept_ray(ctx)
    use = gpu_use(gpus, device)
    sweep = open_sweep(sweep_name, home_folder)
    changes_nothing = trials is None and max_concurrent is None and use is None and not repair
    if changes_nothing and control.end_pause(sweep):
        say(console, f"{sweep.name} goes on; `tuner watch {sweep.name}` shows it")
        return
    if changes_nothing and _is_complete(sweep):
        if not detach:
            _bring_up_to_date(sweep)
        return
    sweep = prepare_resume(
        sweep,
        console,
        trials=trials,
        max_concurrent=max_concurrent,
        gpus=use,
        accept_code_change=accept_code_change,
    )
    _drive(sweep, detach, insecure, ready_fd, repair=repair)


def _is_complete(sweep: SweepFolder) -> bool:
    """Return whether nothing of a sweep is left to train, and say so at once."""
    from tuner.sweep.snapshot import read_snapshot
    from tuner.sweep.status import describe_runs, summarize

    sweep.check_space()
    sweep.check_place()
    snapshot = read_snapshot(sweep)
    if snapshot.state != "completed" or snapshot.problems:
        return False
    how = f"`tuner resume {sweep.name} --trials N` extends it, `tuner compare {sweep.name}` shows it"
    say(console, f"{sweep.name} is complete: {describe_runs(summarize(snapshot))}; {how}")
    return True


def _bring_up_to_date(sweep: SweepFolder) -> None:
    """Send to MLflow what it lacks of a complete sweep."""
    with waiting(console, "Loading MLflow", in_logs=False):
        from tuner.tracking.sync import mirror_now

    with sweep.lock():
        try:
            mirror_now(sweep, console)
        except UserError as error:
            say(console, f"{error}; `tuner sync {sweep.name}` tries again", "yellow")


def copy(
    sweep_name: SweepName,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="The name of the copy, in the same home.")],
    home_folder: Home = None,
) -> None:
    """Copy a sweep, with everything it holds, to one of its own: `tuner resume NEW` leaves the original as it is."""
    from tuner.execution.upkeep.copying import copy_sweep

    copied = copy_sweep(open_sweep(sweep_name, home_folder), new_name)
    text = f"{copied.name} in {copied.place}; `tuner resume {copied.name}` goes on where {sweep_name} stood"
    say(console, text)


def delete(
    sweep_name: SweepName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete it without asking.")] = False,
    home_folder: Home = None,
) -> None:
    """Delete a sweep with all its runs, after asking; exported bundles and copies stay.

    In MLflow its runs are deleted, too, where they can be restored until `mlflow gc`; a registered champion stays.
    """
    from tuner.execution.upkeep.deleting import delete_sweep, what_is_deleted

    sweep = open_sweep(sweep_name, home_folder)
    with sweep.driver_lock.held():  # refuses, before it asks, while a driver is at work
        pass
    what = what_is_deleted(sweep)
    runs = counted(what.runs, "run")
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"there is no terminal to ask at: `tuner delete {sweep.name} --yes` deletes it")
        typer.confirm(f"Delete {sweep.name} with {runs} ({what.bytes / 1e6:.1f} MB) in {sweep.place}?", abort=True)
    with waiting(console, f"Deleting {sweep.name}", in_logs=False):
        left = delete_sweep(sweep)
    for line in left:
        say(console, line, "yellow")
    say(console, f"{sweep.name} is deleted: {runs}, {what.bytes / 1e6:.1f} MB")


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
        say(console, text)
        return
    try:
        with waiting(console, "Loading Ray", in_logs=False):
            from tuner.execution.launch import report_ready
            from tuner.execution.ray_tune.start import end_ray
            from tuner.execution.search import search

        waits_for_us = [] if ready_fd is None else [ready_fd]

        def on_start() -> None:
            if waits_for_us:
                report_ready(waits_for_us.pop())

        ending = search(sweep, console, on_start, repair=repair, insecure=insecure)
    except KeyboardInterrupt:
        say(console, f"\nInterrupted; {how_to_go_on}")
        raise typer.Exit(INTERRUPTED) from None
    try:
        exit_for(ending, sweep.name, console, how_to_go_on)
    finally:
        end_ray(console)
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep)
    print_comparison(snapshot, console)
    how = f"`tuner export {sweep.name}` writes the best configuration; `tuner ui {sweep.name}` shows every run"
    say(console, how)
    exit_for_problems(snapshot.problems)


def train(
    configuration: Annotated[
        str,
        typer.Argument(
            metavar="CONFIGURATION",
            autocompletion=completion.configurations,
            help="A trainable or published configuration (`tuner spaces list`), a JSON file or a bundle.",
        ),
    ],
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            autocompletion=completion.trainable_settings,
            help="Like classifier.learning_rate=0.01.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", callback=local_only, help="The bundle to write.")
    ] = Path("exports/trained"),
    trust: Annotated[
        bool, typer.Option("--trust", help="Run code that the configuration names and that does not lie beside it.")
    ] = False,
    device: Device = None,
    data: Data = None,
) -> None:
    """Train one configuration in this process, without Ray, and write its bundle."""
    from search_spaces.sections import Dataset
    from tuner.execution import preflight, single
    from tuner.execution.upkeep.resolving import resolve_settings
    from tuner.results.terminal.live import report_line
    from tuner.results.terminal.runs import describe_metrics

    preflight.check_data_folder(data)
    chosen_device = preflight.choose_device(device)
    settings, errors = single.read_configuration(configuration, assign or []), Console(stderr=True, markup=False)
    base = single.folder_of(configuration)
    found = resolve_settings(settings, base, data=data, is_trusted=trust, console=errors)
    settings, data = found.settings, found.data
    preflight.ensure_data(Dataset.model_validate(settings["dataset"]), data, errors)
    last: dict[str, float] = {}
    with counting(console, "Training") as on_progress:

        def tell(metrics: dict[str, float]) -> None:
            last.update(metrics)
            say(console, report_line(metrics))
            on_progress(round(metrics["compute"]), round(settings["compute"]))

        on_progress(0, round(settings["compute"]))
        bundle = single.train(settings, output, data, tell, chosen_device, found.code)
    say_all(console, describe_metrics(last))
    typer.echo(bundle)
