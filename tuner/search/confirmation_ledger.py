"""The ledger of confirming: a study of the sweep's journal, so whatever ends its runs, they go on where they stand.

Every configuration runs with the first seed before any has the second. One that is clearly behind on the validation
images leaves the race, as does one that fails or is masked; baselines always stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.search.confirmation import PLAN, Configuration, Plan, configuration_of, is_confirmed, race
from tuner.search.open_runs import OpenRuns
from tuner.search.samplers import create_study
from tuner.storage.optuna_internals import open_trial
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import violations
from tuner.sweep.reader import CONFIRM, open_writer, read_records, record_of, run_of
from tuner.sweep.runs import Record, Run
from tuner.sweep.state import seconds_spent

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock


class ConfirmLedger:
    """Hands out the runs of a plan and takes in what they report; see `open_runs.RunQueue`."""

    def __init__(self, sweep: SweepFolder, plan: Plan, study_lock: StudyLock | None = None) -> None:
        self._sweep = sweep
        self._plan = plan
        self._journal = open_writer(sweep, study_lock)
        self._study = create_study(JournalStorage(self._journal), CONFIRM, [sweep.space.objective])
        self._study.set_user_attr(PLAN, asdict(plan))
        self._journal.sync()
        self.records: dict[str, Record] = {record.run.key: record for record in read_records(sweep, ["confirm"])}
        self._unfinished = [one for one in self._trials() if one.state in (TrialState.RUNNING, TrialState.WAITING)]
        self._open = OpenRuns(self._journal, self.records, sweep.store)
        self._seconds_before = seconds_spent(self.records.values())
        self._started: float | None = None

    @property
    def num_runs(self) -> int:
        """Runs that are asked for, less those of configurations that have left the race."""
        return len(self._trials()) + len(list(self._pairs_left()))

    @property
    def is_complete(self) -> bool:
        """Whether every run that is asked for has ended."""
        return is_confirmed(self._sweep.space, self._plan, list(self.records.values()))

    @property
    def is_interrupted(self) -> bool:
        """Whether runs are left: nothing but a signal or a request ends confirming before its last run."""
        return not self.is_complete

    @property
    def has_open_runs(self) -> bool:
        """Whether runs are handed out that have neither ended nor been put back."""
        return bool(self._open)

    def rest(self) -> None:
        """Stop the clock of the sweep's time until the next run starts."""
        self._seconds_before, self._started = self._seconds, None

    @property
    def _seconds(self) -> float:
        """For how long drivers have trained for confirming; a driver's time begins with its first run."""
        return self._seconds_before + (time.monotonic() - self._started if self._started is not None else 0.0)

    def next_run(self) -> Run | None:
        """Return the next run: unfinished ones first, then round by round; None when all are handed out."""
        while self._unfinished:
            run = self._hand_out(self._unfinished.pop(0))
            if not self._leaves(run.key):
                return run
        pair = next(self._pairs_left(), None)
        if pair is None:
            return None
        configuration, seed = pair
        attributes = {"configuration": configuration.name, "settings": {**configuration.settings, "seed": seed}}
        self._study.enqueue_trial({}, user_attrs=attributes)  # with all it needs, in one line of the journal
        return self._hand_out(self._trials()[-1])

    def requeue(self, key: str) -> None:
        """Take back a run that is not trained any further now; it is handed out again, from its checkpoint."""
        self._unfinished.append(self._trials()[self._open.requeue(key).number])

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Take in the metrics of one report; return False if its configuration has left the race."""
        self._open.record(key, metrics)
        return not self._leaves(key)

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Take in the last metrics of a run that has spent its compute."""
        self._open.record(key, metrics)
        feasible = self._open.set_constraints(key, violations(self._sweep.space.constraints, metrics))
        self._end(key, TrialState.COMPLETE, values=[metrics[self._sweep.space.objective.metric]], feasible=feasible)

    def fail(self, key: str, reason: str) -> None:
        """Say that a run cannot go on, and why."""
        self._end(key, TrialState.FAIL, reason=reason)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _pairs_left(self) -> Iterator[tuple[Configuration, int]]:
        """Yield what has not begun. Baselines open a round: the race's last results may come in meanwhile."""
        left = race(self._sweep.space, self._plan, list(self.records.values()))
        begun = {(one.user_attrs["configuration"], one.user_attrs["settings"]["seed"]) for one in self._trials()}
        for seed in self._plan.seeds:
            for one in sorted(self._plan.configurations, key=lambda one: not one.is_baseline):
                if (one.name, seed) not in begun and one.name not in left:
                    yield one, seed

    def _hand_out(self, frozen: FrozenTrial) -> Run:
        self._started = self._started or time.monotonic()
        trial = open_trial(self._study, frozen) if frozen.state == TrialState.RUNNING else self._study.ask()
        frozen = self._trials()[trial.number]
        return self._open.start(record_of(run_of(self._sweep, "confirm", frozen), frozen), trial)

    def _leaves(self, key: str) -> bool:
        """End an open run whose configuration has left the race."""
        left = race(self._sweep.space, self._plan, list(self.records.values()))
        why = left.get(configuration_of(self.records[key]))
        if why is not None:
            self._end(key, TrialState.PRUNED, reason=why)
        return why is not None

    def _end(self, key: str, state: TrialState, **known: Any) -> None:
        self._open.finish(key, state, self._seconds, **known)
