"""Drives a sweep through one stage, searching or confirming, from where it stands to the stage's end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from search_spaces.sections import Budget
from trainables.common.process_state import environment_kept, loggers_kept
from trainables.errors import StorageError
from trainables.storage.folder_guard import FolderGuard
from trainables.worker.context import WorkerContext
from tuner.errors import SweepError
from tuner.execution.dispatcher import Observer
from tuner.execution.preflight import check_storage
from tuner.execution.ray_tune.node_checks import verify_nodes
from tuner.execution.ray_tune.placing import place_sweep
from tuner.execution.ray_tune.runner import execute
from tuner.execution.ray_tune.start import start_ray
from tuner.results.terminal.live import LiveTable
from tuner.results.terminal.output import say
from tuner.results.terminal.waiting import waiting
from tuner.search.open_runs import RunQueue, num_left
from tuner.sweep.control import Control, StopRequested
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Snapshot
from tuner.sweep.state import SweepState
from tuner.tracking.mirror import Mirror
from tuner.tracking.sync import is_settled, note_settled, register, warn
from tuner.tracking.writer import MlflowWriter

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock

MIRROR_WAIT_S = 120.0
_END_WITHIN_S = 7.0  # after SIGTERM; whoever sends it kills what is there some ten seconds later
_MIRROR_WAIT_AFTER_SIGTERM_S = 2.0


@dataclass(frozen=True)
class Ending:
    """How a drive ended.

    Attributes:
        completed: every run of the stage has ended, and what follows from them has been written.
        mirrored: MLflow is up to date.
        signal: number of the signal that interrupted the drive, None if none did.
        failure: why the drive failed, empty if it did not.
        stopped: somebody asked the driver to stop.
    """

    completed: bool = False
    mirrored: bool = False
    signal: int | None = None
    failure: str = ""
    stopped: bool = False

    @property
    def state(self) -> SweepState:
        """The state in which the drive left the stage: ``failed``, ``completed`` or ``interrupted``."""
        return "failed" if self.failure else "completed" if self.completed else "interrupted"


class StageQueue(RunQueue, Protocol):
    """The runs of one stage."""

    @property
    def is_complete(self) -> bool:
        """Whether every run that the stage asks for has ended."""
        ...

    @property
    def is_interrupted(self) -> bool:
        """Whether runs are left that only a signal or a request can have kept from being trained."""
        ...

    @property
    def has_open_runs(self) -> bool:
        """Whether runs have started that have neither ended nor been requeued."""
        ...

    def rest(self) -> None:
        """Stop the clock of the sweep's time until the next run starts."""
        ...


class Stage(Protocol):
    """What differs between searching and confirming. Everything is called in the thread of `drive`, in this order."""

    @property
    def queue(self) -> StageQueue:
        """The runs to train."""
        ...

    @property
    def budget(self) -> Budget:
        """By which the progress that is shown is measured."""
        ...

    def connect(self) -> MlflowWriter:
        """Connect to MLflow; called in the mirror's thread, again after each failure."""
        ...

    def give_up(self, reason: str) -> None:
        """Record why the drive fails; with an empty reason, that it has just begun."""
        ...

    def finish(self, mirror: Observer, control: Control) -> str:
        """Write what follows from the runs of a complete stage, and tell the mirror which records that changes.

        Returns:
            Why the stage failed although it is complete, empty if it did not.

        Raises:
            StopRequested: there was more to do.
        """
        ...

    def sweep_state(self, ending: Ending) -> SweepState:
        """Return the state that MLflow shows for the sweep."""
        ...

    def winners(self) -> Sequence[Record]:
        """Return the sweep's best runs, best first."""
        ...

    def snapshot(self, state: SweepState) -> Snapshot:
        """Return how far the sweep has come, without reading its runs; called in the mirror's thread, too.

        Args:
            state: of the sweep.
        """
        ...

    def draw(self, folder: Path, ending: Ending) -> Mapping[str, Sequence[Path]]:
        """Draw the pictures for MLflow into a folder; return the files by the key of the run that they belong to."""
        ...


class GracefulSignals:
    """While it is entered, SIGTERM raises `KeyboardInterrupt` as Ctrl-C does, also where Ctrl-C was ignored.

    Tune turns the first of them into the end of its run. If this is still entered seconds after SIGTERM, as when Ray
    was ended by the same signal and Tune waits for it, the process ends at once: all that was reported is saved. Does
    nothing outside the main thread, where Python allows no signal handlers.

    Args:
        farewell: printed before the process is ended at once.
    """

    def __init__(self, farewell: str) -> None:
        self.received: int | None = None
        """Number of the last SIGTERM, None if there was none."""
        self._farewell = farewell
        self._deadline: threading.Timer | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> GracefulSignals:
        if threading.current_thread() is threading.main_thread():
            handlers = {signal.SIGTERM: self._on_sigterm, signal.SIGINT: signal.default_int_handler}
            self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._deadline is not None:
            self._deadline.cancel()

    def _on_sigterm(self, number: int, frame: object) -> None:
        if self._deadline is None:
            self._deadline = threading.Timer(_END_WITHIN_S, self._end_at_once)
            self._deadline.daemon = True
            self._deadline.start()
        self.received = number
        signal.raise_signal(signal.SIGINT)

    def _end_at_once(self) -> None:
        with contextlib.suppress(Exception):  # a notebook's has no descriptor
            os.write(sys.stderr.fileno(), f"{self._farewell}\n".encode(errors="replace"))
        os._exit(128 + signal.SIGTERM)


def drive(
    sweep: SweepFolder,
    console: Console,
    make_stage: Callable[[StudyLock | None], Stage],
    on_start: Callable[[], None] = lambda: None,
    *,
    prepare: Callable[[], None] = lambda: None,
    command: str = "resume",
    insecure: bool = False,
) -> Ending:
    """Train the runs that are left of a stage, keep MLflow up to date, and return how it ended.

    A stage without runs left is only finished and mirrored. Environment variables, loggers and signal handlers of this
    process are put back at the end; Ray keeps running for a next drive.

    Args:
        sweep: the sweep; its lock is held until the drive ends.
        console: shows progress and warnings.
        make_stage: returns the stage; called once the lock is held, with the study's own lock if the study lies in a
            database.
        on_start: called once the lock is held, and requests to stop or pause are taken.
        prepare: called then, before the stage is made: the lock is held without a gap from here to the drive's end.
        command: of `tuner` that continues the stage.
        insecure: see `tuner.execution.ray_tune.start.start_ray`.

    Raises:
        UserError: the sweep's space was edited, another driver is at work on it, the cluster lacks what a run asks for,
            or a node does not reach the sweep's folder.
    """
    sweep.check_space()
    sweep.provide_code()
    ending = Ending()
    signals = GracefulSignals(f"Interrupted; `tuner {command} {sweep.name}` goes on where it stands")
    try:
        with sweep.lock(command) as study_lock, environment_kept(), loggers_kept(), signals:
            sweep.extended()
            guard = FolderGuard(sweep.folder)
            control = Control(sweep)
            on_start()
            was_settled = is_settled(sweep)
            prepare()
            stage = make_stage(study_lock)
            troubles: list[str] = []

            def tell_trouble(text: str) -> None:
                troubles.append(text)
                warn(console, text)

            has_work = not stage.queue.is_complete
            if has_work:
                check_storage(sweep, num_left(stage.queue))
                stage.give_up("")
            with Mirror(stage.connect, tell_trouble, lambda: stage.snapshot("running")) as mirror:
                for record in stage.queue.records.values():
                    mirror.changed(record)
                failure = _train(sweep, stage, control, mirror, console, insecure) if has_work else ""
                lost = _why_lost(guard)
                ending = _finish(stage, mirror, control, signals, lost or failure, is_lost=bool(lost))
                if not lost:  # MLflow's files would make its home anew
                    ending = replace(ending, mirrored=_close(mirror, stage, ending, console))
            if ending.mirrored and ending.state == "completed" and ending.signal is None:
                register(sweep, console, tell_trouble)
                # Of a sweep with two stages this one has sent its own runs alone.
                if (was_settled or not (sweep.folder / "confirm").exists()) and not troubles:
                    note_settled(sweep)
            if ending.stopped:
                control.end()
    except KeyboardInterrupt:  # a second signal, or one outside of Tune: whoever sends it wants no waiting
        ending = replace(ending, signal=signals.received or signal.SIGINT)
    return ending


def _train(sweep: SweepFolder, stage: Stage, control: Control, mirror: Mirror, console: Console, insecure: bool) -> str:
    """Train until nothing is left or the driver is to end, through any number of pauses; return why it failed."""
    context: WorkerContext | None
    try:
        with waiting(console, "Starting Ray"):
            start_ray(insecure=insecure, gpu=sweep.gpus.device)
        context = verify_nodes(sweep)
        with waiting(console, "Looking for GPUs", in_logs=False):
            placement = place_sweep(sweep, num_left(stage.queue), context, partial(say, console))
    except SweepError as error:
        return _given_up(stage, error)
    goes_on = True
    live = LiveTable(
        stage.queue, console, budget=stage.budget, mode=sweep.space.objective.mode, phase=lambda: control.phase
    )
    with live:
        while goes_on:
            try:
                execute(
                    stage.queue,
                    placement.resources,
                    (mirror, live),
                    context=context or verify_nodes(sweep),
                    timeout_s=sweep.space.budget.trial_timeout,
                    is_winding_down=control.is_winding_down,
                    max_concurrent=placement.at_once,
                    name=sweep.id,
                    tell=lambda text: warn(console, text),
                )
            except SweepError as error:
                live.is_at_work = False
                return _given_up(stage, error)
            context = None  # machines may have come while the driver paused
            goes_on = _goes_on_after_pause(sweep, stage.queue, control, console)
        live.is_at_work = False
    return ""


def _given_up(stage: Stage, error: SweepError) -> str:
    with contextlib.suppress(OSError):  # the disk may be what it failed for
        stage.give_up(str(error))
    return str(error)


def _goes_on_after_pause(sweep: SweepFolder, queue: StageQueue, control: Control, console: Console) -> bool:
    """Wait while the driver is to pause, with Ray's processes kept; return whether to go on then."""
    # Runs that are still open were interrupted by a signal, which takes precedence.
    if control.phase != "pausing" or queue.has_open_runs or queue.is_complete:
        return False
    warn(console, f"Paused: `tuner resume {sweep.name}` goes on, `tuner stop {sweep.name}` ends the driver")
    queue.rest()
    try:
        goes_on = control.wait()
    except KeyboardInterrupt:
        return False
    if goes_on:
        console.print("Going on")
    return goes_on


def _finish(
    stage: Stage, mirror: Mirror, control: Control, signals: GracefulSignals, failure: str, *, is_lost: bool
) -> Ending:
    """Finish a complete stage, unless its folder is gone; return how the drive ends."""
    if stage.queue.is_complete and not is_lost:
        try:
            failure = stage.finish(mirror, control) or failure
        except StopRequested:
            return Ending(stopped=True)
    return _ending_of(stage.queue, control, signals.received, failure)


def _ending_of(queue: StageQueue, control: Control, received: int | None, failure: str) -> Ending:
    if failure or not queue.is_interrupted:
        return Ending(completed=queue.is_complete, signal=received, failure=failure)
    if control.phase == "stopping" and not (received or queue.has_open_runs):
        return Ending(stopped=True)
    return Ending(signal=received or signal.SIGINT)


def _why_lost(guard: FolderGuard) -> str:
    """Return why the sweep's folder cannot be written any more; empty if it is where it was."""
    try:
        guard.check()
    except StorageError as error:
        return str(error)
    return ""


def _close(mirror: Mirror, stage: Stage, ending: Ending, console: Console) -> bool:
    is_hurried = ending.signal == signal.SIGTERM
    with tempfile.TemporaryDirectory() as folder:
        pictures = {} if is_hurried else stage.draw(Path(folder), ending)
        with waiting(console, "Writing to MLflow", in_logs=False):
            return mirror.close(
                _MIRROR_WAIT_AFTER_SIGTERM_S if is_hurried else MIRROR_WAIT_S,
                state=stage.sweep_state(ending),
                winners=stage.winners(),
                snapshot=stage.snapshot(stage.sweep_state(ending)),
                pictures=pictures,
            )
