"""Drives the confirming of a sweep to its end: lock, ledger, Ray, mirror, test images."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from search_spaces.sections import Budget
from tuner.errors import SweepError
from tuner.execution.driver import MIRROR_WAIT_S, Ending, graceful_sigterm
from tuner.execution.judging import evaluate_runs
from tuner.execution.preflight import check_storage
from tuner.execution.ray_tune.node_checks import prepare
from tuner.execution.ray_tune.runner import execute, start_ray
from tuner.results.confirmation import write_confirmation
from tuner.results.live import LiveTable
from tuner.search.confirmation import Plan, make_plan
from tuner.search.confirmation_ledger import ConfirmLedger
from tuner.search.open_runs import num_left
from tuner.sweep.control import Control
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best_trials
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Tier
from tuner.sweep.state import is_complete, state_of
from tuner.tracking.mirror import Mirror
from tuner.tracking.sync import warn
from tuner.tracking.writer import MlflowWriter

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock


def confirm(
    sweep: SweepFolder,
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
        workers: how many runs are judged at once, see `judged.evaluate_runs`.

    Raises:
        UserError: another driver is at work, nothing can be confirmed, or the cluster lacks what a run asks for.
        CheckpointError: a run's checkpoint is gone or damaged.
    """
    ending = Ending(completed=False, mirrored=False)
    try:
        with sweep.lock() as study_lock, graceful_sigterm(ending):
            plan = make_plan(sweep, top, num_seeds, baselines)
            judging = {"tier": tier, "num_images": num_images, "workers": workers}
            _confirm(sweep, plan, study_lock, console, ending, judging)
    except KeyboardInterrupt:  # the second one, or one where Tune is not at work: whoever sends it waits for nothing
        ending.completed = False
        ending.signal = ending.signal or signal.SIGINT
    return ending


def _confirm(
    sweep: SweepFolder,
    plan: Plan,
    study_lock: StudyLock | None,
    console: Console,
    ending: Ending,
    judging: dict[str, Any],
) -> None:
    provenance = json.loads((sweep.folder / "provenance.json").read_text())
    searched = read_records(sweep)
    if not is_complete(sweep, searched):
        warn(console, f"The search has not come to its end: `tuner resume {sweep.name}` goes on with it")
    ledger = ConfirmLedger(sweep, plan, study_lock)
    mirror = Mirror(lambda: MlflowWriter(sweep, provenance), lambda text: warn(console, text))
    if not ledger.is_complete:
        _execute(sweep, ledger, mirror, console, ending)
    ending.completed = ledger.is_complete
    records = list(ledger.records.values())
    if ending.completed:
        complete = [record for record in records if record.state == "complete"]
        evaluate_runs(sweep, complete, **judging, tell=console.print)
        write_confirmation(sweep, plan, records, judging["tier"])
    elif not (ending.stopped or ending.failure):
        ending.signal = ending.signal or signal.SIGINT
    for record in records:
        mirror.changed(record)
    ending.mirrored = mirror.close(
        MIRROR_WAIT_S,
        state=state_of(sweep, searched, is_locked=False)[0],
        winners=best_trials(sweep.space, searched),
        pictures={},
    )


def _execute(sweep: SweepFolder, ledger: ConfirmLedger, mirror: Mirror, console: Console, ending: Ending) -> None:
    """Execute what is left; to be asked for a pause ends the driver as a stop does."""
    control, space = Control(sweep.folder), sweep.space
    check_storage(sweep, num_left(ledger))
    start_ray()
    live = LiveTable(
        ledger,
        console,
        budget=Budget(compute=space.budget.compute),
        mode=space.objective.mode,
        phase=lambda: control.phase,
    )
    with live:
        try:
            execute(
                ledger,
                space.resources,
                (mirror, live),
                place=prepare(sweep),
                timeout_s=space.budget.trial_timeout,
                is_winding_down=control.is_winding_down,
                max_concurrent=sweep.max_concurrent,
                name=sweep.id,
                tell=lambda text: warn(console, text),
            )
        except SweepError as error:
            ending.failure = str(error)
    ending.stopped = control.phase != "running" and not (ending.signal or ledger.has_open_runs)
    control.end()
