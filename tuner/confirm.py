"""The ledger of confirming: a study of the sweep's journal, so whatever ends its runs, they go on where they stand.

Every configuration runs with the first seed before any has the second. One that is clearly behind on the validation
images leaves the race, as does one that fails or is masked; baselines always stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from tuner.confirm_plan import PLAN, Configuration, Plan
from tuner.journal import Journal
from tuner.race import configuration_of, is_confirmed, race
from tuner.records import Record, Run, append_metrics, violations
from tuner.studies import CONFIRM, STATES, create_study, read_records, record_of
from tuner.sweep import Sweep


@dataclass
class _Open:
    """A run that has not ended, and the last row that its metrics file has already."""

    trial: Trial
    last_row: int


class ConfirmLedger:
    """Hands out the runs of a plan and takes in what they report; see `run_queue.RunQueue`."""

    def __init__(self, sweep: Sweep, plan: Plan) -> None:
        self._sweep = sweep
        self._plan = plan
        self._journal = Journal(sweep.journal)
        self._study = create_study(JournalStorage(self._journal), CONFIRM, [sweep.space.objective])
        self._study.set_user_attr(PLAN, asdict(plan))
        self._journal.sync()
        self.records: dict[str, Record] = {record.run.key: record for record in read_records(sweep, ["confirm"])}
        self._unfinished = [one for one in self._trials() if one.state in (TrialState.RUNNING, TrialState.WAITING)]
        self._open: dict[str, _Open] = {}

    @property
    def num_runs(self) -> int:
        """Runs that are asked for, less those of configurations that have left the race."""
        return len(self._trials()) + len(list(self._pairs_left()))

    @property
    def is_complete(self) -> bool:
        """Whether every run that is asked for has ended."""
        return is_confirmed(self._sweep.space, self._plan, list(self.records.values()))

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

    def put_back(self, key: str) -> None:
        """Take back a run that is not trained any further now; it is handed out again, from its checkpoint."""
        del self._open[key]
        self._unfinished.append(self._trials()[self.records[key].run.number])

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Take in the metrics of one report; return False if its configuration has left the race."""
        self._take_in(key, metrics)
        return not self._leaves(key)

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Take in the last metrics of a run that has spent its compute."""
        self._take_in(key, metrics)
        trial = self._open[key].trial
        broken = violations(self._sweep.space.constraints, metrics)
        for name, violation in broken.items():
            if name not in trial.constraints:  # a driver that died here has set some already
                trial.set_constraint(name, violation)
        feasible = all(violation <= 0 for violation in broken.values())
        self._end(key, TrialState.COMPLETE, value=metrics[self._sweep.space.objective.metric], feasible=feasible)

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
        trial = Trial(self._study, frozen._trial_id) if frozen.state == TrialState.RUNNING else self._study.ask()
        record = record_of(self._sweep, "confirm", self._trials()[trial.number])
        self._open[record.run.key] = _Open(trial, int(record.metrics.get("step", 0)))
        self.records[record.run.key] = record
        self._journal.sync()
        return record.run

    def _leaves(self, key: str) -> bool:
        """End an open run whose configuration has left the race."""
        left = race(self._sweep.space, self._plan, list(self.records.values()))
        why = left.get(configuration_of(self.records[key]))
        if why is not None:
            self._end(key, TrialState.PRUNED, reason=why)
        return why is not None

    def _take_in(self, key: str, metrics: dict[str, float]) -> None:
        """Write a row that is not there yet: a run that goes on from a checkpoint may report a step again."""
        record, run = self.records[key], self._open[key]
        if metrics["step"] > run.last_row:
            append_metrics(record.run.folder, {**metrics, "time": time.time()})
            run.last_row = int(metrics["step"])
        self.records[key] = replace(record, metrics=metrics)

    def _end(self, key: str, state: TrialState, **known: Any) -> None:
        trial = self._open.pop(key).trial
        if "reason" in known:
            trial.set_user_attr("reason", known["reason"])
        self._study.tell(trial, known.get("value"), state=state)
        self._journal.sync()
        self.records[key] = replace(self.records[key], state=STATES[state], **known)
