"""Runs that are handed out and have not ended: what they report goes to their folders, how they end to their study."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from optuna.trial import Trial, TrialState

from trainables.storage.sweep_store import SweepStore
from tuner.storage.journal import JournalWriter
from tuner.sweep.reader import ENDED_S, STATES
from tuner.sweep.runs import Record, Run, append_metrics


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

    def requeue(self, key: str) -> None:
        """Take back a run that is not trained any further now; it is handed out again, from its checkpoint."""
        ...


def num_left(queue: RunQueue) -> int:
    """Return how many of a queue's runs have not ended."""
    return queue.num_runs - sum(record.state != "running" for record in queue.records.values())


@dataclass
class OpenRun:
    """A run that has not ended, and what the study and the metrics file have of it already.

    Its reports go to `reports`: its trial in the study that prunes, which is the same one for a single objective.
    """

    record: Record
    trial: Trial
    reports: Trial
    last_row: int
    last_report: int


class OpenRuns:
    """The open runs of one driver by their keys; keeps the records of all runs up to date."""

    def __init__(self, journal: JournalWriter, records: dict[str, Record], store: SweepStore) -> None:
        self._journal = journal
        self._store = store
        self._records = records
        self._runs: dict[str, OpenRun] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def start(self, record: Record, trial: Trial, reports: Trial | None = None, last_report: int | None = None) -> Run:
        """Take note of a run that is handed out."""
        last_row = int(record.metrics.get("step", 0))
        self._runs[record.run.key] = OpenRun(record, trial, reports or trial, last_row, last_report or 0)
        self._records[record.run.key] = record
        self._journal.sync()
        return record.run

    def record(self, key: str, metrics: dict[str, float]) -> OpenRun:
        """Write a row that is not there yet: a run that goes on from a checkpoint may report a step again."""
        run = self._runs[key]
        if metrics["step"] > run.last_row:
            append_metrics(run.record.run.folder, {**metrics, "time": time.time()}, self._store)
            run.last_row = int(metrics["step"])
        self._records[key] = run.record = replace(run.record, metrics=metrics)
        return run

    def should_prune(self, run: OpenRun, value: float, step: int) -> bool:
        """Report a value to the study that prunes, unless it has that report; return whether it prunes the run."""
        if step <= run.last_report:
            return False
        run.reports.report(value, step)
        run.last_report = step
        self._journal.sync()
        return run.reports.should_prune()

    def set_constraints(self, key: str, violations: dict[str, float]) -> bool:
        """Write by how much each constraint is broken, and return whether none is."""
        trial = self._runs[key].trial
        for name, violation in violations.items():
            if name not in trial.constraints:  # a driver that died here has set some already
                trial.set_constraint(name, violation)
        return all(violation <= 0 for violation in violations.values())

    def finish(
        self,
        key: str,
        state: TrialState,
        ended_s: float,
        *,
        values: Sequence[float] | None = None,
        report: float | None = None,
        **known: Any,
    ) -> None:
        """Tell the studies how a run has ended.

        Args:
            key: of the run.
            state: that it ends in.
            ended_s: see `Record.ended_s`.
            values: of a complete run, one for each objective.
            report: of a complete run, what the study that prunes takes for its value.
            known: what else goes into its record.
        """
        run = self._runs.pop(key)
        run.trial.set_user_attr(ENDED_S, round(ended_s, 3))
        if "reason" in known:
            run.trial.set_user_attr("reason", known["reason"])
        run.trial.study.tell(run.trial, values, state=state)
        if run.reports is not run.trial:
            run.reports.study.tell(run.reports, report, state=state)
        self._journal.sync()
        value = values[0] if values else None
        self._records[key] = replace(run.record, state=STATES[state], value=value, ended_s=ended_s, **known)

    def requeue(self, key: str) -> Run:
        """Forget a run that is handed out again later."""
        return self._runs.pop(key).record.run
