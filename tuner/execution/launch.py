"""Create a sweep or prepare one to be resumed, with all checks first, and start its driver as a detached process."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from search_spaces import library
from search_spaces.configurations import (
    assigned_space,
    names_first_rung,
    parse_space,
    report_every,
    with_named_rung,
)
from search_spaces.limits import MAX_CONCURRENT, TRIALS_LIMIT
from search_spaces.parsing.python_data import text_of_data
from search_spaces.schema import Space
from trainables.common.process_state import python_command, python_environment
from trainables.config.plugins.wheels import make_wheels
from trainables.storage.bounded import append_regular
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.execution import preflight
from tuner.execution.software import check_software, record_software
from tuner.execution.upkeep.resolving import resolve_space
from tuner.results.terminal.output import say
from tuner.search.sampling.checked import notes_on_sampler, parse_checked_space
from tuner.storage.observations import Observation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import check_available, is_open_to_others, names
from tuner.sweep.identity import GpuUse
from tuner.sweep.reader import open_files

LOG = "driver.log"
SpaceContent: TypeAlias = Mapping[str, object]
"""What a search-space file holds, as Python data: see `search_spaces.parsing.python_data`."""
_started: list[subprocess.Popen[bytes]] = []  # a driver outlives this process; until then it is no zombie


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """How a new sweep differs from what its space says.

    Args:
        name: of the sweep; by default the space's, with a number if that is taken.
        trials: instead of the space's number, from 1 to 1,000,000.
        data: folder of the dataset's files; by default they are fetched.
        warm_start: names of earlier sweeps, whose trials the search begins with.
        study_storage: URL of the database that holds the study; by default a file in the sweep's folder does.
        max_concurrent: how many runs may be executed at once, from 1 on; by default its share of the cluster.
        gpus: how many GPUs may be used, 0 for none; by default all, unless the space says otherwise.
        device: ``cuda`` or one like ``cuda:1`` if runs must train on a GPU, ``cpu`` if they must not; by default, and
            for ``auto``, on GPUs where there are any.
        assignments: values that are put into the space, like ``budget.trials=20`` or ``generator.width=32``.
        trust: run code that the space names and that does not lie beside it.

    Raises:
        UserError: a number is out of bounds or no whole number, or `data` is no folder.
    """

    name: str | None = None
    trials: int | None = None
    data: Path | None = None
    warm_start: Sequence[str] = ()
    study_storage: str | None = None
    max_concurrent: int | None = None
    gpus: int | None = None
    device: str | None = None
    assignments: Sequence[str] = ()
    trust: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that no sweep can have."""
        preflight.check_data_folder(self.data)
        preflight.check_count("trials", self.trials, TRIALS_LIMIT)
        preflight.check_count("max_concurrent", self.max_concurrent, MAX_CONCURRENT)
        gpu_use(self.gpus, self.device)

    @property
    def gpu_use(self) -> GpuUse:
        """How the runs of the sweep are to use GPUs."""
        return gpu_use(self.gpus, self.device) or GpuUse()


def gpu_use(gpus: int | None, device: str | None) -> GpuUse | None:
    """Return how runs are to use GPUs; None if neither says anything.

    Args:
        gpus: see `LaunchOptions`.
        device: likewise.

    Raises:
        UserError: one of them can be nothing of the kind, or they contradict each other.
    """
    preflight.check_count("gpus", gpus, MAX_CONCURRENT, least=0)
    preflight.check_device(device)
    is_cuda = device is not None and device.startswith("cuda")
    is_number = is_cuda and device != "cuda"
    if (gpus == 0 and is_cuda) or (gpus and (device == "cpu" or is_number)):
        raise UserError(f"--gpus {gpus} and --device {device} contradict each other: leave one of them out")
    if gpus is None and device is None:
        return None
    return GpuUse(most=0 if device == "cpu" else gpus, device=device if is_cuda else None)


@dataclass(frozen=True)
class PreparedLaunch:
    """What a launch will create, after everything was checked that could refuse it and before anything is written.

    Attributes:
        name: of the sweep.
        text: of its space, with what its images and code are and with its first rung.
        source: the path of the space's file, or what to call it in messages.
        space: what the text says.
        data: folder or file of its images, if it was given.
        code: files of code of a user's own, by name.
        warm_start: trials of earlier sweeps that fit.
    """

    name: str
    text: str
    source: str
    space: Space
    data: Path | None
    code: Mapping[str, bytes]
    warm_start: Sequence[Observation]


def new_sweep(
    space: str | Path | SpaceContent, home: Path | SweepStore, console: Console, options: LaunchOptions
) -> SweepFolder:
    """Create a sweep that is ready to be driven; its folder appears when nothing is left to refuse.

    Args:
        space: a packaged space's name, a file, or the content of one.
        home: the store, or folder, of all sweeps.
        console: prints the progress of fetching the dataset.
        options: how it differs from what the space says.

    Raises:
        DataError: the dataset cannot be fetched or verified, or images of one's own cannot be used.
        SpaceError: see `prepare_launch`, like UserError.
    """
    prepared = prepare_launch(space, home, options, console)
    preflight.ensure_data(prepared.space.dataset, prepared.data, console)
    _say_if_open(SweepStore.of(home), console)
    return SweepFolder.create(
        prepared.name,
        prepared.text,
        prepared.source,
        home=home,
        num_trials=options.trials,
        data=prepared.data,
        code={**prepared.code, **make_wheels(prepared.space.code)},
        warm_start=prepared.warm_start,
        study_storage=options.study_storage,
        max_concurrent=options.max_concurrent,
        gpus=options.gpu_use,
    )


def prepare_launch(
    space: str | Path | SpaceContent, home: Path | SweepStore, options: LaunchOptions, console: Console
) -> PreparedLaunch:
    """Return what would be launched, and print what is to be known of its sampler, earlier trials and first rung.

    Args:
        space: see `new_sweep`.
        home: likewise.
        options: likewise.
        console: likewise.

    Raises:
        SpaceError: the space has mistakes.
        DataError: images of one's own cannot be used.
        UserError: the name is taken or not allowed, the home or the database cannot be written, this machine lacks a
            resource, an earlier sweep is not there, or none of its trials fits.
    """
    text, source = _launched_text(space, options)
    parsed = parse_checked_space(text, source)
    preflight.check_resources(parsed.resources, options.gpu_use)
    name = options.name or _free_name(parsed.name, home)
    check_available(name, home, options.study_storage)
    if options.study_storage is not None:
        from tuner.storage import postgres

        postgres.check(options.study_storage)
    sweeps = [SweepFolder.open(earlier, home=home) for earlier in options.warm_start]
    found = resolve_space(text, source, data=options.data, is_trusted=options.trust, console=console)
    text, parsed = found.text, parse_space(found.text, source)
    earlier = _earlier_trials(parsed, sweeps, console) if sweeps else []
    if sweeps and not names_first_rung(text):
        text = _with_judged_rung(text, source, parsed, sweeps, console)
        parsed = parse_space(text, source)
    for note in notes_on_sampler(parsed):
        say(console, note)
    return PreparedLaunch(name, text, source, parsed, found.data, found.code, earlier)


def _launched_text(space: str | Path | SpaceContent, options: LaunchOptions) -> tuple[str, str]:
    text, source = _text_of(space)
    return assigned_space(text, source, options.assignments), source


def prepare_resume(
    sweep: SweepFolder,
    console: Console,
    *,
    trials: int | None = None,
    max_concurrent: int | None = None,
    gpus: GpuUse | None = None,
    accept_code_change: bool = False,
) -> SweepFolder:
    """Return a sweep that is ready to be driven again.

    Args:
        sweep: that is resumed.
        console: prints the progress of fetching the dataset.
        trials: extend it to this many; by default it keeps its number.
        max_concurrent: how many runs may be executed at once from now on, at least 1; by default as before.
        gpus: how runs use GPUs from now on; by default as before.
        accept_code_change: go on although the code that trains differs from that of its runs.

    Raises:
        DataError: the dataset cannot be fetched or verified.
        UserError: it has more trials already, its space was edited, a driver is at work on it, this machine lacks a
            resource, or the code that trains differs.
    """
    sweep.check_space()
    if trials is not None and trials < sweep.num_trials:
        raise UserError(f"--trials must not be below the sweep's {sweep.num_trials}, got {trials}")
    preflight.check_count("trials", trials, TRIALS_LIMIT)
    preflight.check_count("max_concurrent", max_concurrent, MAX_CONCURRENT)
    if keys := sweep.taken_over_keys():
        say(console, f"Edited in space.yaml, and taken over: {', '.join(keys)}")
    if elsewhere := sweep.brought_from():
        text = (
            f"{sweep.name} was last driven in {elsewhere.place} on {elsewhere.host}. If it is still there, make this "
            f"one a sweep of its own: `tuner copy {sweep.name} NEW`"
        )
        say(console, text, "yellow")
    _say_if_open(sweep.store, console)
    preflight.check_resources(sweep.space.resources, gpus or sweep.gpus)
    change = check_software(sweep, console, accept_code_change=accept_code_change)
    with sweep.lock() as study_lock:
        sweep = sweep.extended(trials, max_concurrent, gpus)
        if change is not None:
            record_software(sweep, change, open_files(sweep, study_lock))
    notes_on_sampler(sweep.space)  # refuses one whose class is not here
    preflight.ensure_data(sweep.space.dataset, Path(sweep.data) if sweep.data else None, console)
    return sweep


def _say_if_open(store: SweepStore, console: Console) -> None:
    """Say that others can read what is in the home: one that this release makes is private, an older one may not be."""
    if is_open_to_others(store):
        text = f"Other users of this machine can read {store.root}; `chmod o-rwx {store.root}` keeps them out"
        say(console, text, "yellow")


def start_detached(sweep: SweepFolder, *, repair: bool = False, insecure: bool = False) -> int:
    """Start a driver that outlives this process and its terminal, and return its pid; it writes to ``driver.log``.

    Returns once the driver holds the sweep's lock, which it then keeps, or has ended because nothing was left to do.

    Args:
        sweep: that it drives.
        repair: it trains runs whose files are damaged again first, see `tuner.execution.upkeep.repair.repair_runs`.
        insecure: let its Ray require no token, see `tuner.execution.ray_tune.start.start_ray`.

    Raises:
        UserError: it ended before it took over the sweep; the message holds what it wrote. Or its log cannot be
            written.
    """
    log = sweep.folder / LOG
    try:
        opened = append_regular(log)
    except OSError as error:
        raise UserError(f"the driver cannot write its log: {error}; move that file away") from error
    readable, writable = os.pipe()
    with opened as file, os.fdopen(readable, "rb") as ready:
        begin = file.tell()
        try:
            process = subprocess.Popen(
                _driver_command(sweep, writable, repair=repair, insecure=insecure),
                env=python_environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(writable,),
            )
        finally:
            os.close(writable)
        _started.append(process)
        holds_lock = bool(ready.read(1))  # nothing if the driver ends before
    if not holds_lock and process.wait() != 0:
        raise UserError(f"the driver of {sweep.name!r} ended at once: {log.read_bytes()[begin:].decode().strip()}")
    return process.pid


def _driver_command(sweep: SweepFolder, ready_fd: int, *, repair: bool, insecure: bool) -> list[str]:
    where = sweep.store.url or str(sweep.store.root)
    options = [option for option, given in {"--repair": repair, "--insecure": insecure}.items() if given]
    return python_command("tuner", "resume", sweep.name, "--home", where, "--ready-fd", str(ready_fd), *options)


def report_ready(ready_fd: int) -> None:
    """Tell the process that called `start_detached` that this process, the driver, holds the sweep's lock for good.

    Args:
        ready_fd: the file descriptor that it has passed on.
    """
    with contextlib.suppress(OSError):  # it has ended meanwhile
        os.write(ready_fd, b"1")
    os.close(ready_fd)


def _text_of(space: str | Path | SpaceContent) -> tuple[str, str]:
    if isinstance(space, Path):
        return library.text_of(str(space.absolute()))
    if isinstance(space, str):
        return library.text_of(space)
    return text_of_data(space, "space"), "space"


def _earlier_trials(space: Space, sweeps: Sequence[SweepFolder], console: Console) -> list[Observation]:
    """Return the trials of earlier sweeps that fit a space, and print what was left out."""
    from tuner.search.warm_start import collect_observations

    observations, left_out = collect_observations(space, sweeps)
    console.print(f"Warm start: {len(observations)} earlier trials fit this space", highlight=False)
    for line in left_out:
        say(console, f"  {line}")
    return observations


def _with_judged_rung(text: str, source: str, space: Space, sweeps: Sequence[SweepFolder], console: Console) -> str:
    """Return the text of a space with the first rung that the curves of earlier sweeps say, and print which it is."""
    from tuner.results.judging import judge_curves, judgement_sentences, past_curves

    judgement = judge_curves(past_curves(space, sweeps))
    right, (why,) = judgement.first_right, judgement_sentences(judgement)
    by_rule = space.search.pruner.first_rung
    if right is None:
        say(console, f"First rung: a compute of {by_rule:g}, as by default. {why}")
        return text
    rung = round(right.step * report_every(space), 9)
    say(console, f"First rung: a compute of {rung:g}; without earlier sweeps it would be {by_rule:g}. {why}")
    names = ", ".join(sweep.name for sweep in sweeps)
    return with_named_rung(text, source, rung, f"the first rung is where the curves of {names} judge rightly")


def _free_name(base: str, home: Path | SweepStore) -> str:
    taken = set(names(home))
    candidates = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)
