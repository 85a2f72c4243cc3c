"""The ledger: the sweep's Optuna study, the only record that decides what has happened.

Everything else is derived from it and from the runs' folders. It lies in one journal with two studies, the search's
and the baselines'; a driver that dies at any moment leaves a ledger from which the next one goes on with the same runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from tuner.fields import baseline_configurations, configuration_for
from tuner.journal import Journal
from tuner.records import MASKING_FAILURES, Kind, Record, Run, State, append_metrics, read_metrics
from tuner.suggest import build_pruner, build_sampler, suggest
from tuner.sweep import Sweep

optuna.logging.set_verbosity(optuna.logging.WARNING)

SEARCH, BASELINES = "search", "baselines"
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass
class _Open:
    """A run that has not ended, and what the study and the metrics file have of it already."""

    record: Record
    trial: Trial
    last_row: int
    last_report: int


class Ledger:
    """Hands out runs and takes in what they report. One driver at a time: the caller holds the sweep's lock."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._journal = Journal(sweep.journal)
        self._space = sweep.space
        self._grid = sweep.space.grid() if sweep.space.search.sampler == "grid" else []
        self._studies: dict[Kind, Study] = _create_studies(sweep, self._journal)
        self._open: dict[str, _Open] = {}
        self._deadline = time.monotonic() + sweep.space.budget.time if sweep.space.budget.time else None
        self._enqueue()
        self._unfinished = [
            (kind, frozen)
            for kind in self._studies
            for frozen in self._trials(kind)
            if frozen.state == TrialState.RUNNING
        ]
        self.records: dict[str, Record] = {record.run.key: record for record in read_records(sweep)}

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
        return bool(self._open or self._unfinished) or not (self.is_complete or self._is_out_of_time)

    @property
    def has_open_runs(self) -> bool:
        """Whether runs are handed out that have neither ended nor been put back."""
        return bool(self._open)

    @property
    def _is_out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def next_run(self) -> Run | None:
        """Return the next run: unfinished ones first, then baselines, then new trials; None when all are handed out."""
        if self._unfinished:
            kind, frozen = self._unfinished.pop(0)
            self._prepare_sampler(frozen.number)
            return self._hand_out(kind, Trial(self._studies[kind], frozen._trial_id))
        if len(self._studies["baseline"].get_trials(deepcopy=False, states=(TrialState.WAITING,))):
            return self._hand_out("baseline", self._studies["baseline"].ask())
        begun = [trial for trial in self._trials("trial") if trial.state != TrialState.WAITING]
        if len(begun) >= self._sweep.num_trials or self._is_out_of_time:
            return None
        self._prepare_sampler(len(begun))
        return self._hand_out("trial", self._studies["trial"].ask())

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Take in the metrics of one report; return False if the run is to stop here (it is pruned then)."""
        step = int(metrics["step"])
        open_run = self._take_in(key, metrics)
        if open_run.record.run.kind == "baseline" or step <= open_run.last_report:
            return True
        open_run.trial.report(metrics[self._space.objective.metric], step)
        open_run.last_report = step
        self._journal.sync()
        if not open_run.trial.should_prune():
            return True
        self._end(key, TrialState.PRUNED)
        return False

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Take in the last metrics of a run that has spent its compute."""
        open_run = self._take_in(key, metrics)
        violations = self._violations(metrics)
        for name, violation in violations.items():
            if name not in open_run.trial.constraints:  # a driver that died here has set some already
                open_run.trial.set_constraint(name, violation)
        feasible = all(violation <= 0 for violation in violations.values())
        self._end(key, TrialState.COMPLETE, value=metrics[self._space.objective.metric], feasible=feasible)

    def fail(self, key: str, reason: str) -> None:
        """Say that a run cannot go on, and why."""
        self._open[key].trial.set_user_attr("reason", reason)
        self._end(key, TrialState.FAIL, reason=reason)

    def put_back(self, key: str) -> None:
        """Leave a run that has not ended for later: it goes on before others begin, from its checkpoint."""
        run = self._open.pop(key).record.run
        self._unfinished.append((run.kind, self._trials(run.kind)[run.number]))
        self._unfinished.sort(key=lambda one: (one[0], one[1].number))  # baselines first, as after a crash

    def _prepare_sampler(self, number: int) -> None:
        self._studies["trial"].sampler = build_sampler(self._space, number)

    def _trials(self, kind: Kind) -> list[FrozenTrial]:
        return self._studies[kind].get_trials(deepcopy=False)

    def _enqueue(self) -> None:
        """Queue what is known beforehand: baselines, the grid, known configurations. A second call adds nothing."""
        baselines = list(baseline_configurations(self._space, self._sweep.num_seeds).items())
        for name, settings in baselines[len(self._trials("baseline")) :]:
            self._studies["baseline"].enqueue_trial({}, user_attrs={"name": name, "settings": settings})
        for parameters in self._known_parameters()[len(self._trials("trial")) :]:
            self._studies["trial"].enqueue_trial(parameters)

    def _known_parameters(self) -> list[dict[str, Any]]:
        return self._grid * self._space.seeds if self._grid else self._space.first_parameters()

    def _hand_out(self, kind: Kind, trial: Trial) -> Run:
        if "settings" not in trial.user_attrs:
            settings = self._space.settings(lambda parameter: suggest(trial, parameter))
            # All grid points share a seed before the next one, so that they are compared in pairs.
            num_before = trial.number // len(self._grid) if self._grid else trial.number
            seed = self._space.search.seed + num_before
            trial.set_user_attr("settings", configuration_for(self._space, settings, seed))
        frozen = self._trials(kind)[trial.number]
        record = record_of(self._sweep, kind, frozen)
        last_row = int(record.metrics.get("step", 0))
        self._open[record.run.key] = _Open(record, trial, last_row, frozen.last_step or 0)
        self.records[record.run.key] = record
        self._journal.sync()
        return record.run

    def _take_in(self, key: str, metrics: dict[str, float]) -> _Open:
        """Write a row that is not there yet: a run that goes on from a checkpoint may report a step again."""
        open_run = self._open[key]
        if metrics["step"] > open_run.last_row:
            append_metrics(open_run.record.run.folder, {**metrics, "time": time.time()})
            open_run.last_row = int(metrics["step"])
        self.records[key] = open_run.record = replace(open_run.record, metrics=metrics)
        return open_run

    def _violations(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return by how much each constraint is broken; zero or less is kept."""
        violations = {}
        for metric, limit in self._space.constraints.items():
            if limit.min is not None:
                violations[f"{metric} min"] = limit.min - metrics[metric]
            if limit.max is not None:
                violations[f"{metric} max"] = metrics[metric] - limit.max
        if MASKING_FAILURES in metrics:
            violations["masking"] = metrics[MASKING_FAILURES]
        return violations

    def _end(self, key: str, state: TrialState, **known: Any) -> None:
        open_run = self._open.pop(key)
        value = known.get("value")
        open_run.trial.study.tell(open_run.trial, value, state=state)
        self._journal.sync()
        self.records[key] = replace(open_run.record, state=STATES[state], **known)


def is_complete(sweep: Sweep, records: list[Record]) -> bool:
    """Return whether every run that a sweep asks for has ended."""
    ended = sum(record.state != "running" for record in records)
    return ended >= sweep.num_runs


def read_records(sweep: Sweep) -> list[Record]:
    """Return what the ledger says of every run, baselines first. Reads only; a sweep may be running meanwhile."""
    if not sweep.journal.exists():
        return []
    storage = JournalStorage(JournalFileBackend(str(sweep.journal)))
    there = {study.study_name for study in storage.get_all_studies()}
    kinds: list[tuple[Kind, str]] = [("baseline", BASELINES), ("trial", SEARCH)]
    return [
        record_of(sweep, kind, frozen)
        for kind, study_name in kinds
        if study_name in there
        for frozen in optuna.load_study(study_name=study_name, storage=storage).get_trials(deepcopy=False)
        if "settings" in frozen.user_attrs and frozen.state in STATES
    ]


def record_of(sweep: Sweep, kind: Kind, frozen: FrozenTrial) -> Record:
    """Return what is known of one run, its last metrics among it."""
    if kind == "baseline":
        name = frozen.user_attrs["name"]
        key, folder = f"baseline-{name}", sweep.folder / "baselines" / name
    else:
        key, folder = f"trial-{frozen.number:04d}", sweep.folder / "trials" / f"{frozen.number:04d}"
    rows = read_metrics(folder)
    return Record(
        run=Run(key, kind, frozen.number, frozen.user_attrs["settings"], folder),
        state=STATES[frozen.state],
        metrics=rows[-1] if rows else {},
        value=frozen.value if frozen.state == TrialState.COMPLETE else None,
        feasible=all(violation <= 0 for violation in frozen.constraints.values()),
        reason=frozen.user_attrs.get("reason"),
    )


def _create_studies(sweep: Sweep, journal: Journal) -> dict[Kind, Study]:
    storage = JournalStorage(journal)
    direction: Literal["maximize", "minimize"] = "maximize" if sweep.space.objective.mode == "max" else "minimize"
    search = optuna.create_study(
        study_name=SEARCH,
        storage=storage,
        direction=direction,
        pruner=build_pruner(sweep.space),
        load_if_exists=True,
    )
    baselines = optuna.create_study(
        study_name=BASELINES,
        storage=storage,
        direction=direction,
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    return {"trial": search, "baseline": baselines}
