"""Drives a sweep from where it stands to its end: lock, ledger, Ray, mirror, live table."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tuner.errors import UserError
from tuner.execution import execute, start_ray
from tuner.ledger import Ledger, is_complete, read_records
from tuner.live import LiveTable
from tuner.records import best
from tuner.report import draw
from tuner.sweep import Sweep
from tuner.tracking import Mirror, MlflowWriter, tracking_uri

_MIRROR_WAIT_S = 120.0


@dataclass
class Ending:
    """How a drive ended: ``signal`` is the one that stopped it, if one did."""

    completed: bool
    mirrored: bool
    signal: int | None = None


@contextlib.contextmanager
def _graceful_sigterm(ending: Ending) -> Iterator[None]:
    """Let SIGTERM end the sweep as Ctrl-C does (which Tune catches by itself)."""

    def on_signal(number: int, frame: object) -> None:
        ending.signal = number
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def drive(sweep: Sweep, console: Console) -> Ending:
    """Run what is left of a sweep; a sweep that has nothing left only has its mirror brought up to date.

    Raises:
        UserError: another driver is at work, or the cluster lacks what a run asks for.
    """
    ending = Ending(completed=False, mirrored=False)
    provenance = json.loads((sweep.folder / "provenance.json").read_text())
    with sweep.lock():
        ledger = Ledger(sweep)
        mirror = Mirror(
            lambda: MlflowWriter(sweep, provenance),
            lambda text: console.print(text, style="yellow", markup=False, soft_wrap=True),
        )
        for record in ledger.records.values():
            mirror.changed(record)
        if not ledger.is_complete:
            start_ray()
            live = LiveTable(ledger, console, compute=sweep.space.budget.compute, mode=sweep.space.objective.mode)
            with _graceful_sigterm(ending), live:
                execute(ledger, sweep.space.resources, (mirror, live), data=sweep.data)
        ending.completed = ledger.is_complete
        if ledger.is_interrupted:
            ending.signal = ending.signal or signal.SIGINT
        with tempfile.TemporaryDirectory() as folder:
            picture = draw(sweep, Path(folder) / "comparison.png")
            ending.mirrored = mirror.close(
                _MIRROR_WAIT_S,
                completed=ending.completed,
                winner=best(list(ledger.records.values()), sweep.space.objective.mode),
                pictures=[picture] if picture else [],
            )
    return ending


def mirror_now(sweep: Sweep) -> None:
    """Bring MLflow up to date with a sweep's folder, right now.

    Raises:
        UserError: MLflow cannot be written; nothing but the mirror waits for it.
    """
    provenance = json.loads((sweep.folder / "provenance.json").read_text())
    records = read_records(sweep)
    try:
        writer = MlflowWriter(sweep, provenance)
        for record in records:
            writer.write(record)
        writer.finish(is_complete(sweep, records), best(records, sweep.space.objective.mode), [])
    except Exception as error:  # whatever MLflow and its databases raise
        reason = str(error).splitlines()[0]
        raise UserError(f"MLflow at {tracking_uri(sweep.folder.parent)} cannot be written: {reason}") from error
