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

from rich.console import Console

from tuner.compare import winners_of
from tuner.control import Control
from tuner.dispatch import Observer
from tuner.errors import SweepError, UserError
from tuner.execution import execute, start_ray
from tuner.ledger import Ledger
from tuner.live import LiveTable
from tuner.mirror import Mirror
from tuner.mlflow_store import tracking_uri
from tuner.open_runs import num_left
from tuner.places import prepare
from tuner.preflight import check_storage
from tuner.report import draw_sweep
from tuner.states import ALL_FAILED, all_failed, state_of
from tuner.studies import read_records
from tuner.sweep import Sweep
from tuner.tracking import MlflowWriter

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


def drive(sweep: Sweep, console: Console) -> Ending:
    """Run what is left of a sweep; a sweep that has nothing left only has its mirror brought up to date.

    Raises:
        UserError: another driver is at work, or the cluster lacks what a run asks for.
    """
    ending = Ending(completed=False, mirrored=False)
    try:
        with sweep.lock(), graceful_sigterm(ending):
            _drive(sweep, console, ending)
    except KeyboardInterrupt:  # the second one, or one where Tune is not at work: whoever sends it waits for nothing
        ending.signal = ending.signal or signal.SIGINT
    return ending


def _drive(sweep: Sweep, console: Console, ending: Ending) -> None:
    provenance = json.loads((sweep.folder / "provenance.json").read_text())
    control = Control(sweep.folder)
    ledger = Ledger(sweep)
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
            winners=winners_of(sweep, list(ledger.records.values())),
            # Whoever interrupts a sweep waits for its end; the runs are drawn when it goes on.
            pictures=_pictures(sweep, Path(folder), console, with_runs=ending.state == "completed"),
        )
    if ending.stopped:
        control.end()


def _run(sweep: Sweep, ledger: Ledger, control: Control, observers: Sequence[Observer], console: Console) -> str:
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


def _goes_on_after_a_pause(sweep: Sweep, ledger: Ledger, control: Control, console: Console) -> bool:
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


def mirror_now(sweep: Sweep, console: Console, *, with_runs: bool = True) -> None:
    """Bring MLflow up to date with a sweep's folder, right now.

    Args:
        sweep: whose lock the caller holds.
        console: is told which pictures could not be drawn.
        with_runs: draw the best trial and the baselines, too; it takes seconds for each.

    Raises:
        UserError: MLflow cannot be written; nothing but the mirror waits for it.
    """
    provenance = json.loads((sweep.folder / "provenance.json").read_text())
    records = read_records(sweep)
    try:
        writer = MlflowWriter(sweep, provenance)
        for record in [*records, *read_records(sweep, ["confirm"])]:
            writer.write(record)
        with tempfile.TemporaryDirectory() as folder:
            pictures = _pictures(sweep, Path(folder), console, with_runs=with_runs)
            writer.finish(state_of(sweep, records, is_locked=False)[0], winners_of(sweep, records), pictures)
    except Exception as error:  # whatever MLflow and its databases raise
        reason = str(error).splitlines()[0]
        raise UserError(f"MLflow at {tracking_uri(sweep.folder.parent)} cannot be written: {reason}") from error


def _pictures(sweep: Sweep, folder: Path, console: Console, *, with_runs: bool = True) -> dict[str, list[Path]]:
    """Draw what can be drawn of a sweep; nothing waits for pictures, so what goes wrong is said and no more."""
    if with_runs:
        console.print("Drawing the best trial and the baselines", style="dim")
    try:
        drawn = draw_sweep(sweep, folder, with_runs=with_runs)
    except Exception as error:  # whatever drawing raises
        warn(console, f"The pictures could not be drawn: {error}")
        return {}
    for what in drawn.missing:
        warn(console, f"Not drawn: {what}")
    return drawn.files


def warn(console: Console, text: str) -> None:
    """Say what a person should know, though nothing stops for it."""
    console.print(text, style="yellow", markup=False, soft_wrap=True)
