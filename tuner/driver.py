"""Drives a sweep from where it stands to its end: lock, ledger, Ray, mirror, live table."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tuner.confirm import ConfirmLedger
from tuner.confirm_plan import make_plan
from tuner.confirmed import write_confirmed
from tuner.errors import UserError
from tuner.execution import execute, start_ray
from tuner.judged import judge_runs
from tuner.ledger import Ledger, is_complete, read_records
from tuner.live import LiveTable
from tuner.records import Tier, best
from tuner.report import draw_sweep
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
            lambda text: _warn(console, text),
        )
        for record in ledger.records.values():
            mirror.changed(record)
        if not ledger.is_complete:
            start_ray()
            live = LiveTable(ledger, console, compute=sweep.space.budget.compute, mode=sweep.space.objective.mode)
            with _graceful_sigterm(ending), live:
                timeout_s = sweep.space.budget.trial_timeout
                execute(ledger, sweep.space.resources, (mirror, live), data=sweep.data, timeout_s=timeout_s)
        ending.completed = ledger.is_complete
        if ledger.is_interrupted:
            ending.signal = ending.signal or signal.SIGINT
        with tempfile.TemporaryDirectory() as folder:
            ending.mirrored = mirror.close(
                _MIRROR_WAIT_S,
                completed=ending.completed,
                winner=best(list(ledger.records.values()), sweep.space.objective.mode),
                # Whoever interrupts a sweep waits for its end; the runs are drawn when it goes on.
                pictures=_pictures(sweep, Path(folder), console, with_runs=ending.signal is None),
            )
    return ending


def confirm(
    sweep: Sweep,
    console: Console,
    *,
    top: int | None = None,
    num_seeds: int | None = None,
    baselines: Sequence[str] | None = None,
    tier: Tier = "rank",
    num_images: int | None = None,
    workers: int | None = None,
) -> Ending:
    """Run what is left of a sweep's confirming, judge its runs on test images, and write what was found.

    Args:
        sweep: that is confirmed.
        console: is told what goes on.
        top: how many configurations, see `confirm_plan.make_plan`.
        num_seeds: with how many seeds, likewise.
        baselines: which of the sweep's, likewise.
        tier: by which attacks the test images are judged.
        num_images: only the first test images.
        workers: how many runs are judged at once, see `judged.judge_runs`.

    Raises:
        UserError: another driver is at work, nothing can be confirmed, or the cluster lacks what a run asks for.
        CheckpointError: a run's checkpoint is gone or damaged.
    """
    ending = Ending(completed=False, mirrored=False)
    provenance = json.loads((sweep.folder / "provenance.json").read_text())
    with sweep.lock():
        plan = make_plan(sweep, top, num_seeds, baselines)
        ledger = ConfirmLedger(sweep, plan)
        mirror = Mirror(lambda: MlflowWriter(sweep, provenance), lambda text: _warn(console, text))
        if not ledger.is_complete:
            start_ray()
            space = sweep.space
            live = LiveTable(ledger, console, compute=space.budget.compute, mode=space.objective.mode)
            with _graceful_sigterm(ending), live:
                execute(ledger, space.resources, (mirror, live), data=sweep.data, timeout_s=space.budget.trial_timeout)
        ending.completed = ledger.is_complete
        if ending.completed:
            complete = [record for record in ledger.records.values() if record.state == "complete"]
            judge_runs(sweep, complete, tier=tier, num_images=num_images, workers=workers, tell=console.print)
            write_confirmed(sweep, plan, list(ledger.records.values()), tier)
        else:
            ending.signal = ending.signal or signal.SIGINT
        for record in ledger.records.values():
            mirror.changed(record)
        searched = read_records(sweep)
        ending.mirrored = mirror.close(
            _MIRROR_WAIT_S,
            completed=is_complete(sweep, searched),
            winner=best(searched, sweep.space.objective.mode),
            pictures={},
        )
    return ending


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
            writer.finish(is_complete(sweep, records), best(records, sweep.space.objective.mode), pictures)
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
        _warn(console, f"The pictures could not be drawn: {error}")
        return {}
    for what in drawn.missing:
        _warn(console, f"Not drawn: {what}")
    return drawn.files


def _warn(console: Console, text: str) -> None:
    console.print(text, style="yellow", markup=False, soft_wrap=True)
