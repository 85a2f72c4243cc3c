"""The ledger: the sweep's Optuna study, the only record that decides what has happened.

Everything else is derived from it and from the runs' folders. It lies in one journal with two studies, the search's
and the baselines'; a driver that dies at any moment leaves a ledger from which the next one goes on with the same runs.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from tuner.fields import baseline_configurations, configuration_for
from tuner.journal import Journal
from tuner.records import Kind, Record, Run
from tuner.studies import OpenRuns, read_trials, record_of, violations
from tuner.suggest import build_pruner, build_sampler, suggest
from tuner.sweep import Sweep

SEARCH, BASELINES = "search", "baselines"


class Ledger:
    """Hands out runs and takes in what they report. One driver at a time: the caller holds the sweep's lock."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._journal = Journal(sweep.journal)
        self._space = sweep.space
        self._grid = sweep.space.grid() if sweep.space.search.sampler == "grid" else []
        self._studies: dict[Kind, Study] = _create_studies(sweep, self._journal)
        self._deadline = time.monotonic() + sweep.space.budget.time if sweep.space.budget.time else None
        self._enqueue()
        self._unfinished = [
            (kind, frozen)
            for kind in self._studies
            for frozen in self._trials(kind)
            if frozen.state == TrialState.RUNNING
        ]
        self.records: dict[str, Record] = {record.run.key: record for record in read_records(sweep)}
        self._open = OpenRuns(self._journal, self.records)

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
        return bool(self._open) or not (self.is_complete or self._is_out_of_time)

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
        open_run = self._open.take_in(key, metrics)
        if open_run.record.run.kind == "baseline" or step <= open_run.last_report:
            return True
        open_run.trial.report(metrics[self._space.objective.metric], step)
        open_run.last_report = step
        self._journal.sync()
        if not open_run.trial.should_prune():
            return True
        self._open.end(key, TrialState.PRUNED)
        return False

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Take in the last metrics of a run that has spent its compute."""
        self._open.take_in(key, metrics)
        feasible = self._open.constrain(key, violations(self._space, metrics))
        self._open.end(key, TrialState.COMPLETE, value=metrics[self._space.objective.metric], feasible=feasible)

    def fail(self, key: str, reason: str) -> None:
        """Say that a run cannot go on, and why."""
        self._open.end(key, TrialState.FAIL, reason=reason)

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
        return self._open.begin(_record(self._sweep, kind, frozen), trial, frozen.last_step or 0)


def is_complete(sweep: Sweep, records: list[Record]) -> bool:
    """Return whether every run that a sweep asks for has ended."""
    ended = sum(record.state != "running" for record in records)
    return ended >= sweep.num_runs


def read_records(sweep: Sweep) -> list[Record]:
    """Return what the ledger says of every run, baselines first. Reads only; a sweep may be running meanwhile."""
    kinds: dict[Kind, str] = {"baseline": BASELINES, "trial": SEARCH}
    trials = read_trials(sweep, *kinds.values())
    return [_record(sweep, kind, frozen) for kind, study in kinds.items() for frozen in trials[study]]


def _record(sweep: Sweep, kind: Kind, frozen: FrozenTrial) -> Record:
    if kind == "baseline":
        name = frozen.user_attrs["name"]
        key, folder = f"baseline-{name}", sweep.folder / "baselines" / name
    else:
        key, folder = f"trial-{frozen.number:04d}", sweep.folder / "trials" / f"{frozen.number:04d}"
    return record_of(Run(key, kind, frozen.number, frozen.user_attrs["settings"], folder), frozen)


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
