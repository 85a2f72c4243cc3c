"""What ledgers share: Optuna studies in the one journal of a sweep, and the runs that are handed out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from search_spaces.schema import Space
from tuner.journal import Journal
from tuner.records import MASKING_FAILURES, Record, Run, State, append_metrics, read_metrics
from tuner.sweep import Sweep

optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class RunQueue(Protocol):
    """What is executed: hands out runs, and takes in what they report. Its caller holds the sweep's lock."""

    records: dict[str, Record]

    @property
    def num_runs(self) -> int:
        """Runs that are asked for."""
        ...

    def next_run(self) -> Run | None:
        """Return the next run, unfinished ones first; None when all are handed out."""
        ...

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Take in the metrics of one report; return False if the run is to stop here."""
        ...

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Take in the last metrics of a run that has spent its compute."""
        ...

    def fail(self, key: str, reason: str) -> None:
        """Say that a run cannot go on, and why."""
        ...


@dataclass
class OpenRun:
    """A run that has not ended, and what the study and the metrics file have of it already."""

    record: Record
    trial: Trial
    last_row: int
    last_report: int


class OpenRuns:
    """The runs that are handed out: what they report goes to their folders, how they end to their study."""

    def __init__(self, journal: Journal, records: dict[str, Record]) -> None:
        self._journal = journal
        self._records = records
        self._runs: dict[str, OpenRun] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, key: str) -> OpenRun:
        return self._runs[key]

    def begin(self, record: Record, trial: Trial, last_report: int = 0) -> Run:
        """Take note of a run that is handed out."""
        self._runs[record.run.key] = OpenRun(record, trial, int(record.metrics.get("step", 0)), last_report)
        self._records[record.run.key] = record
        self._journal.sync()
        return record.run

    def take_in(self, key: str, metrics: dict[str, float]) -> OpenRun:
        """Write a row that is not there yet: a run that goes on from a checkpoint may report a step again."""
        run = self._runs[key]
        if metrics["step"] > run.last_row:
            append_metrics(run.record.run.folder, {**metrics, "time": time.time()})
            run.last_row = int(metrics["step"])
        self._records[key] = run.record = replace(run.record, metrics=metrics)
        return run

    def constrain(self, key: str, violations: dict[str, float]) -> bool:
        """Write by how much each constraint is broken, and return whether none is."""
        trial = self._runs[key].trial
        for name, violation in violations.items():
            if name not in trial.constraints:  # a driver that died here has set some already
                trial.set_constraint(name, violation)
        return all(violation <= 0 for violation in violations.values())

    def end(self, key: str, state: TrialState, **known: Any) -> None:
        """Tell the study how a run has ended; what is `known` goes into its record."""
        run = self._runs.pop(key)
        if "reason" in known:
            run.trial.set_user_attr("reason", known["reason"])
        run.trial.study.tell(run.trial, known.get("value"), state=state)
        self._journal.sync()
        self._records[key] = replace(run.record, state=STATES[state], **known)


def violations(space: Space, metrics: dict[str, float]) -> dict[str, float]:
    """Return by how much each constraint of a space is broken, masked gradients included; zero or less is kept."""
    broken = {}
    for metric, limit in space.constraints.items():
        if limit.min is not None:
            broken[f"{metric} min"] = limit.min - metrics[metric]
        if limit.max is not None:
            broken[f"{metric} max"] = metrics[metric] - limit.max
    if MASKING_FAILURES in metrics:
        broken["masking"] = metrics[MASKING_FAILURES]
    return broken


def read_trials(sweep: Sweep, *studies: str) -> dict[str, list[FrozenTrial]]:
    """Return the trials of studies that were handed out. Reads only; a sweep may be running meanwhile."""
    found: dict[str, list[FrozenTrial]] = {study: [] for study in studies}
    if not sweep.journal.exists():
        return found
    storage = JournalStorage(JournalFileBackend(str(sweep.journal)))
    there = {study.study_name for study in storage.get_all_studies()}
    for name in there & set(studies):
        trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
        found[name] = [trial for trial in trials if "settings" in trial.user_attrs and trial.state in STATES]
    return found


def record_of(run: Run, trial: FrozenTrial) -> Record:
    """Return what a study and the run's folder say of a run."""
    rows = read_metrics(run.folder)
    return Record(
        run=run,
        state=STATES[trial.state],
        metrics=rows[-1] if rows else {},
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        feasible=all(violation <= 0 for violation in trial.constraints.values()),
        reason=trial.user_attrs.get("reason"),
    )
