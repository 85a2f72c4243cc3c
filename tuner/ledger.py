"""The ledger: the sweep's Optuna study, the only record that decides what has happened.

Everything else is derived from it and from the runs' folders. It lies in one journal with a study for the search and
one for the baselines; a driver that dies at any moment leaves a ledger from which the next one goes on with the same
runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from optuna.storages import JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tuner import warm_start
from tuner.budgets import is_complete, seconds_spent, spent_budget
from tuner.fields import baseline_configurations, configuration_for
from tuner.journal import Journal
from tuner.records import Kind, Record, Run, append_metrics, violations
from tuner.studies import (
    BASELINES,
    ENDED_S,
    SEARCH,
    STATES,
    create_pruning_study,
    create_study,
    read_records,
    record_of,
)
from tuner.suggest import build_sampler, suggest
from tuner.sweep import Sweep

__all__ = ["Ledger", "is_complete", "read_records"]


@dataclass
class _Open:
    """A run that has not ended, and what the study and the metrics file have of it already.

    Its reports go to `reports`: its trial in the study that prunes, which is the same one for a single objective.
    """

    record: Record
    trial: Trial
    reports: Trial
    last_row: int
    last_report: int


class Ledger:
    """Hands out runs and takes in what they report. One driver at a time: the caller holds the sweep's lock."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._journal = Journal(sweep.journal)
        self._space = sweep.space
        self._grid = sweep.space.grid() if sweep.space.search.sampler == "grid" else []
        storage = JournalStorage(self._journal)
        search = create_study(storage, SEARCH, self._space.objectives)
        self._studies: dict[Kind, Study] = {
            "trial": search,
            "baseline": create_study(storage, BASELINES, self._space.objectives),
        }
        self._pruning = create_pruning_study(storage, sweep, search)
        self._num_earlier = warm_start.add(sweep, search)
        self._open: dict[str, _Open] = {}
        self._enqueue()
        self._unfinished = [
            (kind, frozen)
            for kind in self._studies
            for frozen in self._trials(kind)
            if frozen.state == TrialState.RUNNING
        ]
        self._settle_pruning()
        self.records: dict[str, Record] = {record.run.key: record for record in read_records(sweep)}
        self._seconds_before = seconds_spent(self.records.values())
        self._started: float | None = None

    @property
    def num_runs(self) -> int:
        """Runs that the sweep asks for, baselines included."""
        return self._sweep.num_runs

    @property
    def is_complete(self) -> bool:
        """Whether every run that was asked for has ended."""
        return is_complete(self._sweep, list(self.records.values()))

    @property
    def is_interrupted(self) -> bool:
        """Whether work is left that only a signal can have kept from being done."""
        return bool(self._open) or not (self.is_complete or self._spent_budget)

    @property
    def _seconds(self) -> float:
        """For how long drivers have worked on the sweep; a driver's time begins with its first run."""
        return self._seconds_before + (time.monotonic() - self._started if self._started is not None else 0.0)

    @property
    def _spent_budget(self) -> str | None:
        return spent_budget(self._space, self.records.values(), self._seconds)

    def next_run(self) -> Run | None:
        """Return the next run: unfinished ones first, then baselines, then new trials; None when all are handed out."""
        if self._unfinished:
            kind, frozen = self._unfinished.pop(0)
            self._prepare_sampler(frozen.number)
            return self._hand_out(kind, Trial(self._studies[kind], frozen._trial_id))
        if len(self._studies["baseline"].get_trials(deepcopy=False, states=(TrialState.WAITING,))):
            return self._hand_out("baseline", self._studies["baseline"].ask())
        begun = [trial for trial in self._trials("trial") if trial.state != TrialState.WAITING]
        if len(begun) - self._num_earlier >= self._sweep.num_trials or self._spent_budget:
            return None
        self._prepare_sampler(len(begun))
        return self._hand_out("trial", self._studies["trial"].ask())

    def put_back(self, key: str) -> None:
        """Take back a run that is not trained any further now; it is handed out again, from its checkpoint."""
        run = self._open.pop(key).record.run
        self._unfinished.append((run.kind, self._trials(run.kind)[run.number]))

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Take in the metrics of one report; return False if the run is to stop here (it is pruned then)."""
        step = int(metrics["step"])
        open_run = self._take_in(key, metrics)
        if open_run.record.run.kind == "baseline" or step <= open_run.last_report:
            return True
        open_run.reports.report(metrics[self._space.prune_on.metric], step)
        open_run.last_report = step
        self._journal.sync()
        if not open_run.reports.should_prune():
            return True
        self._end(key, TrialState.PRUNED)
        return False

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Take in the last metrics of a run that has spent its compute."""
        open_run = self._take_in(key, metrics)
        broken = violations(self._space.constraints, metrics)
        for name, violation in broken.items():
            if name not in open_run.trial.constraints:  # a driver that died here has set some already
                open_run.trial.set_constraint(name, violation)
        feasible = all(violation <= 0 for violation in broken.values())
        self._end(key, TrialState.COMPLETE, value=metrics[self._space.objective.metric], feasible=feasible)

    def fail(self, key: str, reason: str) -> None:
        """Say that a run cannot go on, and why."""
        self._open[key].trial.set_user_attr("reason", reason)
        self._end(key, TrialState.FAIL, reason=reason)

    def _prepare_sampler(self, number: int) -> None:
        self._studies["trial"].sampler = build_sampler(self._space, number)

    def _trials(self, kind: Kind) -> list[FrozenTrial]:
        return self._studies[kind].get_trials(deepcopy=False)

    def _enqueue(self) -> None:
        """Queue what is known beforehand: baselines, the grid, known configurations. A second call adds nothing."""
        baselines = list(baseline_configurations(self._space, self._sweep.num_seeds).items())
        for name, settings in baselines[len(self._trials("baseline")) :]:
            self._studies["baseline"].enqueue_trial({}, user_attrs={"name": name, "settings": settings})
        for parameters in self._known_parameters()[len(self._trials("trial")) - self._num_earlier :]:
            self._studies["trial"].enqueue_trial(parameters)

    def _known_parameters(self) -> list[dict[str, Any]]:
        return self._grid * self._space.seeds if self._grid else self._space.first_parameters()

    def _settle_pruning(self) -> None:
        """End what a driver that died between two lines has left running in the study that prunes."""
        if self._pruning is self._studies["trial"]:
            return
        ended = {one.number for one in self._trials("trial") if one.state.is_finished()}
        for frozen in self._pruning.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if frozen.number in ended:
                self._pruning.tell(frozen.number, state=TrialState.FAIL)

    def _hand_out(self, kind: Kind, trial: Trial) -> Run:
        self._started = self._started or time.monotonic()
        if "settings" not in trial.user_attrs:
            settings = self._space.settings(lambda parameter: suggest(trial, parameter))
            # All grid points share a seed before the next one, so that they are compared in pairs.
            num_before = trial.number // len(self._grid) if self._grid else trial.number
            seed = self._space.search.seed + num_before
            trial.set_user_attr("settings", configuration_for(self._space, settings, seed))
        record = record_of(self._sweep, kind, self._trials(kind)[trial.number])
        last_row = int(record.metrics.get("step", 0))
        reports = self._reports(trial) if kind == "trial" else trial
        last_report = self._pruning.get_trials(deepcopy=False)[trial.number].last_step if kind == "trial" else None
        self._open[record.run.key] = _Open(record, trial, reports, last_row, last_report or 0)
        self.records[record.run.key] = record
        self._journal.sync()
        return record.run

    def _reports(self, trial: Trial) -> Trial:
        """Return the trial of the same number in the study that prunes."""
        if self._pruning is self._studies["trial"]:
            return trial
        there = self._pruning.get_trials(deepcopy=False)
        if len(there) > trial.number:
            return Trial(self._pruning, there[trial.number]._trial_id)
        for _ in range(trial.number - len(there)):  # numbers that no trial of this sweep has
            self._pruning.add_trial(create_trial(state=TrialState.FAIL))
        return self._pruning.ask()

    def _take_in(self, key: str, metrics: dict[str, float]) -> _Open:
        """Write a row that is not there yet: a run that goes on from a checkpoint may report a step again."""
        open_run = self._open[key]
        if metrics["step"] > open_run.last_row:
            append_metrics(open_run.record.run.folder, {**metrics, "time": time.time()})
            open_run.last_row = int(metrics["step"])
        self.records[key] = open_run.record = replace(open_run.record, metrics=metrics)
        return open_run

    def _end(self, key: str, state: TrialState, **known: Any) -> None:
        open_run = self._open.pop(key)
        metrics = open_run.record.metrics
        open_run.trial.set_user_attr(ENDED_S, round(self._seconds, 3))
        is_whole = state == TrialState.COMPLETE
        values = [metrics[one.metric] for one in self._space.objectives] if is_whole else None
        open_run.trial.study.tell(open_run.trial, values, state=state)
        if open_run.reports is not open_run.trial:
            open_run.reports.study.tell(
                open_run.reports, metrics[self._space.prune_on.metric] if is_whole else None, state=state
            )
        self._journal.sync()
        self.records[key] = replace(open_run.record, state=STATES[state], ended_s=self._seconds, **known)
