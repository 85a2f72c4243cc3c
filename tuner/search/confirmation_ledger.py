"""The runs of confirming as a study in the sweep's journal, so that they are resumed after any interruption.

Every configuration is trained with the first seed before any is trained with the second. Configurations that are
eliminated (see `tuner.search.confirmation.race`) are trained no further; baselines always are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.search.confirmation import PLAN, Configuration, Plan, configuration_of, is_confirmed, race
from tuner.search.open_runs import OpenRuns, claim_folder
from tuner.search.samplers import create_study
from tuner.storage.journal import replaying
from tuner.storage.optuna_internals import open_trial
from tuner.storage.recorded_files import RecordedFiles
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import violations
from tuner.sweep.reader import (
    CONFIRM,
    CONFIRMED,
    open_writer,
    record_of,
    records_of,
    require_study,
    run_of,
)
from tuner.sweep.runs import Record, Run
from tuner.sweep.state import seconds_spent

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock

_log = logging.getLogger(__name__)


class ConfirmLedger:
    """The runs of a plan: which are to be trained, and what they have reported; see `RunQueue`.

    Args:
        sweep: whose lock the caller holds.
        plan: configurations and seeds, written to the study.
        study_lock: what `SweepFolder.lock` has returned: needed if a database holds the study.
        tell: says to a person what was moved aside.

    Raises:
        UserError: the journal or a run that has ended is damaged, or the database cannot be used.
    """

    def __init__(
        self,
        sweep: SweepFolder,
        plan: Plan,
        study_lock: StudyLock | None = None,
        tell: Callable[[str], None] = _log.warning,
    ) -> None:
        self._sweep = sweep
        self._tell = tell
        self._plan = plan
        self._journal = open_writer(sweep, study_lock)
        with replaying(sweep.study_place):
            storage = JournalStorage(self._journal)
        require_study(sweep, storage)
        self.files = RecordedFiles(sweep.folder, sweep.store, self._journal, storage)
        """Writes the results of the runs under attack on test images."""
        self._study = create_study(storage, CONFIRM, [sweep.space.objective])
        self._study.set_user_attr(PLAN, asdict(plan))
        self._journal.sync()
        self._unfinished = [
            trial for trial in self._trials() if trial.state in (TrialState.RUNNING, TrialState.WAITING)
        ]
        for trial in self._unfinished:
            if trial.state == TrialState.RUNNING:
                claim_folder(sweep, run_of(sweep, "confirm", trial), tell, has_started=True)
        self.records: dict[str, Record] = {
            record.run.key: record for record in records_of(sweep, "confirm", self._trials())
        }
        self._open = OpenRuns(self._journal, self.records, sweep)
        self._seconds_before = seconds_spent(self.records.values())
        self._started: float | None = None

    @property
    def num_runs(self) -> int:
        """Number of runs that the plan asks for, without those that eliminated configurations have not started."""
        return len(self._trials()) + len(list(self._pending()))

    @property
    def is_complete(self) -> bool:
        """Whether every run that is still asked for has ended."""
        return is_confirmed(self._sweep.space, self._plan, list(self.records.values()))

    @property
    def is_interrupted(self) -> bool:
        """Whether runs are left: nothing but a signal or a request ends confirming before its last run."""
        return not self.is_complete

    @property
    def has_open_runs(self) -> bool:
        """Whether runs have started that have neither ended nor been requeued."""
        return bool(self._open)

    def rest(self) -> None:
        """Stop the clock of the sweep's time until the next run starts."""
        self._seconds_before, self._started = self._seconds, None

    @property
    def _seconds(self) -> float:
        """For how long drivers have trained for confirming; a driver's time begins with its first run."""
        return self._seconds_before + (time.monotonic() - self._started if self._started is not None else 0.0)

    def next_run(self) -> Run | None:
        """Start the next run and return it: unfinished runs first, then round by round; None if there is none."""
        while self._unfinished:
            run = self._start(self._unfinished.pop(0))
            if not self._end_if_eliminated(run.key):
                return run
        pair = next(self._pending(), None)
        if pair is None:
            return None
        configuration, seed = pair
        attributes = {"configuration": configuration.name, "settings": {**configuration.settings, "seed": seed}}
        self._study.enqueue_trial({}, user_attrs=attributes)  # with all it needs, in one line of the journal
        return self._start(self._trials()[-1])

    def requeue(self, key: str) -> None:
        """Queue a run again that is not trained any further now; it goes on later, from its checkpoint."""
        self._unfinished.append(self._trials()[self._open.requeue(key).number])

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Record the metrics of one report; return False if the configuration is eliminated, which ends the run."""
        self._open.record(key, metrics)
        return not self._end_if_eliminated(key)

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Record the last metrics of a run that has spent its compute, and end it."""
        self._open.record(key, metrics)
        feasible = self._open.set_constraints(key, violations(self._sweep.space.constraints, metrics))
        self._end(key, TrialState.COMPLETE, values=[metrics[self._sweep.space.objective.metric]], feasible=feasible)

    def fail(self, key: str, reason: str) -> None:
        """End a run that cannot go on, with the reason."""
        self._end(key, TrialState.FAIL, reason=reason)

    def record_result(self, digest: str) -> None:
        """Write the digest of the file that holds the result; see `tuner.sweep.confirmation.read_confirmation`."""
        self._study.set_user_attr(CONFIRMED, digest)
        self._journal.sync()

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _pending(self) -> Iterator[tuple[Configuration, int]]:
        """Yield what has not started, round by round.

        Where several configurations race, the baselines come first in each round: results of the round before may
        still arrive. One alone waits for nothing: it comes first, since it usually takes longest.
        """
        baselines_first = len(self._plan.racing) > 1
        ordered = sorted(self._plan.configurations, key=lambda each: each.is_baseline != baselines_first)
        eliminated = race(self._sweep.space, self._plan, list(self.records.values()))
        attributes = [trial.user_attrs for trial in self._trials()]
        started = {(of_trial["configuration"], of_trial["settings"]["seed"]) for of_trial in attributes}
        for seed in self._plan.seeds:
            for configuration in ordered:
                if (configuration.name, seed) not in started and configuration.name not in eliminated:
                    yield configuration, seed

    def _start(self, frozen: FrozenTrial) -> Run:
        self._started = self._started or time.monotonic()
        trial = open_trial(self._study, frozen) if frozen.state == TrialState.RUNNING else self._study.ask()
        is_new = frozen.state != TrialState.RUNNING
        frozen = self._trials()[trial.number]
        run = run_of(self._sweep, "confirm", frozen)
        if is_new:
            claim_folder(self._sweep, run, self._tell, has_started=False)
        return self._open.start(record_of(self._sweep, run, frozen), trial)

    def _end_if_eliminated(self, key: str) -> bool:
        """End an open run if its configuration is eliminated; return whether it is."""
        eliminated = race(self._sweep.space, self._plan, list(self.records.values()))
        reason = eliminated.get(configuration_of(self.records[key]))
        if reason is not None:
            self._end(key, TrialState.PRUNED, reason=reason)
        return reason is not None

    def _end(self, key: str, state: TrialState, **known: Any) -> None:
        self._open.finish(key, state, self._seconds, **known)
