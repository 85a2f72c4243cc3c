"""Drives a sweep from where it stands to its end: lock, ledger, Ray, mirror, live table."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tuner.errors import SweepError
from tuner.execution.dispatcher import Observer
from tuner.execution.preflight import check_storage
from tuner.execution.ray_tune.node_checks import prepare
from tuner.execution.ray_tune.runner import execute, start_ray
from tuner.results.live import LiveTable
from tuner.search.ledger import Ledger
from tuner.search.open_runs import num_left
from tuner.sweep.control import Control
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best_trials
from tuner.sweep.state import ALL_FAILED, all_failed
from tuner.tracking.mirror import Mirror
from tuner.tracking.sync import draw_pictures, warn
from tuner.tracking.writer import MlflowWriter

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock

MIRROR_WAIT_S = 120.0


@dataclass
class Ending:
    """How a drive ended.

    ``signal`` is the one that cut it short, ``failure`` why it gave up, and ``stopped`` says that it was asked to end.
    """

    completed: bool
    mirrored: bool
    signal: int | None = None
    failure: str = ""
    stopped: bool = False

    @property
    def state(self) -> str:
        """The state in which it has left the sweep."""
        return "failed" if self.failure else "completed" if self.completed else "interrupted"


@contextlib.contextmanager
def graceful_sigterm(ending: Ending) -> Iterator[None]:
    """Let SIGTERM end the sweep as Ctrl-C does (which Tune catches by itself), and Ctrl-C raise where it is ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: object) -> None:
        ending.signal = number
        signal.raise_signal(signal.SIGINT)

    handlers = {signal.SIGTERM: on_signal, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def drive(sweep: SweepFolder, console: Console) -> Ending:
    """Run what is left of a sweep; a sweep that has nothing left only has its mirror brought up to date.

    Raises:
        UserError: another driver is at work, or the cluster lacks what a run asks for.
    """
    ending = Ending(completed=False, mirrored=False)
    try:
        with sweep.lock() as study_lock, graceful_sigterm(ending):
            _drive(sweep, study_lock, console, ending)
    except KeyboardInterrupt:  # the second one, or one where Tune is not at work: whoever sends it waits for nothing
        ending.signal = ending.signal or signal.SIGINT
    return ending


def _drive(sweep: SweepFolder, study_lock: StudyLock | None, console: Console, ending: Ending) -> None:
    provenance = json.loads((sweep.folder / "provenance.json").read_text())
    control = Control(sweep.folder)
    ledger = Ledger(sweep, study_lock)
    has_work = not ledger.is_complete
    if has_work:
        check_storage(sweep, num_left(ledger))
        ledger.give_up("")

    def connect() -> MlflowWriter:
        writer = MlflowWriter(sweep, provenance)
        if has_work:
            writer.begin()
        return writer

    mirror = Mirror(connect, lambda text: warn(console, text))
    for record in ledger.records.values():
        mirror.changed(record)
    if has_work:
        start_ray()
        live = LiveTable(
            ledger,
            console,
            budget=sweep.space.budget,
            mode=sweep.space.objective.mode,
            phase=lambda: control.phase,
        )
        with live:
            ending.failure = _run(sweep, ledger, control, (mirror, live), console)
    ending.completed = ledger.is_complete
    if ledger.is_interrupted and not ending.failure:
        ending.stopped = control.phase == "stopping" and not (ending.signal or ledger.has_open_runs)
        ending.signal = ending.signal or (None if ending.stopped else signal.SIGINT)
    if ending.completed and all_failed(ledger.records.values()):
        ending.failure = ALL_FAILED
    with tempfile.TemporaryDirectory() as folder:
        ending.mirrored = mirror.close(
            MIRROR_WAIT_S,
            state=ending.state,
            winners=best_trials(sweep.space, ledger.records.values()),
            # Whoever interrupts a sweep waits for its end; the runs are drawn when it goes on.
            pictures=draw_pictures(sweep, Path(folder), console, with_runs=ending.state == "completed"),
        )
    if ending.stopped:
        control.end()


def _run(sweep: SweepFolder, ledger: Ledger, control: Control, observers: Sequence[Observer], console: Console) -> str:
    """Execute what is left, pausing whenever somebody asks for it; return why the sweep was given up, or nothing."""
    goes_on = True
    while goes_on:
        try:
            execute(
                ledger,
                sweep.space.resources,
                observers,
                place=prepare(sweep),
                timeout_s=sweep.space.budget.trial_timeout,
                is_winding_down=control.is_winding_down,
                max_concurrent=sweep.max_concurrent,
                name=sweep.id,
                tell=lambda text: warn(console, text),
            )
        except SweepError as error:
            with contextlib.suppress(OSError):  # the disk that it was given up for
                ledger.give_up(str(error))
            return str(error)
        goes_on = _goes_on_after_a_pause(sweep, ledger, control, console)
    return ""


def _goes_on_after_a_pause(sweep: SweepFolder, ledger: Ledger, control: Control, console: Console) -> bool:
    """Wait for as long as somebody wants it, if anybody does; Ray's processes stay. Return whether to go on then."""
    # Runs that are still open were cut short by a signal, which counts for more.
    if control.phase != "pausing" or ledger.has_open_runs or ledger.is_complete:
        return False
    warn(console, f"Paused: `tuner resume {sweep.name}` goes on, `tuner stop {sweep.name}` ends the driver")
    ledger.rest()
    try:
        goes_on = control.wait()
    except KeyboardInterrupt:
        return False
    if goes_on:
        console.print("Going on")
    return goes_on
