"""Open runs: started and not ended. Their reports go to their folders, and how they end to the study."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from optuna.trial import Trial, TrialState

from trainables.storage.atomic import is_storage_trouble
from trainables.storage.folder_guard import FolderGuard
from tuner.errors import DamagedRunError
from tuner.search.sampling.several_objectives import report_attribute
from tuner.storage.journal import JournalWriter
from tuner.storage.metrics_file import names_its_run
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import ENDED, STATES
from tuner.sweep.runs import Record, Run, append_metrics, read_last_metrics, read_metrics


class RunQueue(Protocol):
    """The runs of a search or of confirming, as whatever trains them needs them. The caller holds the sweep's lock.

    Attributes:
        records: of all runs that have started, by key.
    """

    records: dict[str, Record]

    @property
    def num_runs(self) -> int:
        """Number of runs that are asked for."""
        ...

    def next_run(self) -> Run | None:
        """Start the next run and return it, unfinished ones first; None if there is none."""
        ...

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Record the metrics of one report; return False if the run is to stop here, which ends it."""
        ...

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Record the last metrics of a run that has spent its compute, and end it."""
        ...

    def fail(self, key: str, reason: str) -> None:
        """End a run that cannot go on, with the reason."""
        ...

    def requeue(self, key: str) -> None:
        """Queue a run again that is not trained any further now; it goes on later, from its checkpoint."""
        ...


def num_left(queue: RunQueue) -> int:
    """Return how many of a queue's runs have not ended."""
    return queue.num_runs - sum(record.state != "running" for record in queue.records.values())


@dataclass
class OpenRun:
    """A run that has not ended.

    Attributes:
        record: what is known of it.
        trial: its trial in the study of its kind.
        reports: its trial in the study that prunes, which takes its reports; with a single objective, the same one.
        last_row: step of the last row in its metrics file.
        last_report: step of the last report in the study that prunes.
        is_sealed: whether this driver has added a row to its metrics file.
    """

    record: Record
    trial: Trial
    reports: Trial
    last_row: int
    last_report: int
    is_sealed: bool = False


class OpenRuns:
    """The open runs of one driver by their keys; keeps the records of all runs up to date.

    Args:
        journal: of the studies; written to the disk or the database after each change.
        records: of all runs, by key.
        sweep: whose runs they are.
    """

    def __init__(self, journal: JournalWriter, records: dict[str, Record], sweep: SweepFolder) -> None:
        self._journal = journal
        self._store = sweep.store
        self._guard = FolderGuard(sweep.folder)
        self._records = records
        self._runs: dict[str, OpenRun] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def start(self, record: Record, trial: Trial, reports: Trial | None = None, last_report: int | None = None) -> Run:
        """Add a run.

        Args:
            record: what is known of it.
            trial: see `OpenRun`.
            reports: see `OpenRun`; by default the trial.
            last_report: step of the last report in the study that prunes; None if there is none.
        """
        last_row = int(record.metrics.get("step", 0))
        self._runs[record.run.key] = OpenRun(record, trial, reports or trial, last_row, last_report or 0)
        self._records[record.run.key] = record
        self._journal.sync()
        return record.run

    def record(self, key: str, metrics: dict[str, float]) -> OpenRun:
        """Append a report to the metrics file, unless it has that step: a resumed run reports some steps again.

        Raises:
            OSError: it cannot be written; the sweep's folder may not be there any more.
        """
        run = self._runs[key]
        if metrics["step"] > run.last_row:
            self._guard.make(run.record.run.folder)
            append_metrics(run.record.run, {**metrics, "time": time.time()}, self._store)
            run.last_row, run.is_sealed = int(metrics["step"]), True
        self._records[key] = run.record = replace(run.record, metrics=metrics)
        return run

    def should_prune(self, run: OpenRun, value: float, step: int, objectives: list[float] | None = None) -> bool:
        """Report a value to the study that prunes, unless it has that step; return whether the run is to be pruned.

        Args:
            run: the run.
            value: what it is compared by.
            step: of the report.
            objectives: what stands for each of several objectives, for the study that is searched.
        """
        if step <= run.last_report:
            return False
        if objectives is not None:
            run.trial.set_user_attr(report_attribute(step), objectives)
        run.reports.report(value, step)
        run.last_report = step
        self._journal.sync()
        return run.reports.should_prune()

    def set_constraints(self, key: str, violations: dict[str, float]) -> bool:
        """Write by how much each constraint is broken (above zero) or kept; return whether all are kept."""
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
        """End a run, and tell the studies how.

        Args:
            key: of the run.
            state: that it ends in.
            ended_s: see `Record.ended_s`.
            values: of a complete run, one for each objective.
            report: of a complete run, what the study that prunes takes for its value.
            known: what else goes into its record.
        """
        self._guard.check()
        run = self._runs.pop(key)
        ended_s = round(ended_s, 3)  # as it is read again
        ended = {"seconds": ended_s, "step": run.last_row, "sealed": run.is_sealed}
        run.trial.set_user_attr(ENDED, ended)
        if "reason" in known:
            run.trial.set_user_attr("reason", known["reason"])
        run.trial.study.tell(run.trial, values, state=state)
        if run.reports is not run.trial:
            run.reports.study.tell(run.reports, report, state=state)
        self._journal.sync()
        value = values[0] if values else None
        self._records[key] = replace(run.record, state=STATES[state], value=value, ended_s=ended_s, **known)

    def requeue(self, key: str) -> Run:
        """Remove a run that is started again later."""
        return self._runs.pop(key).record.run


def claim_folder(sweep: SweepFolder, run: Run, tell: Callable[[str], None], *, has_started: bool) -> None:
    """See that a run does not go on from what lies in its folder, unless that is its own.

    What is damaged, or belongs to another run or other settings, is moved aside with the whole folder, and the run
    begins anew. So is what does not say of which run it is, unless the study knows that the run has started: then an
    earlier release wrote it. Checkpoints of later reports than the metrics have are moved aside: reports would be
    missing.

    Args:
        sweep: the sweep; its lock is held by the caller.
        run: that is about to be trained.
        tell: says to a person what was moved, and why.
        has_started: whether the study says so.

    Raises:
        DamagedRunError: the disk does not let it be read.
    """
    reason = _reason_to_move(run, has_started)
    if reason and run.folder.exists():
        aside = sweep.store.move_aside(run.folder)
        tell(f"{run.key} begins anew: what lay in its folder is in {aside} now, because {reason}")
    else:
        _move_checkpoints_ahead(sweep, run, tell)


def _move_checkpoints_ahead(sweep: SweepFolder, run: Run, tell: Callable[[str], None]) -> None:
    """Move checkpoints aside that come after a report which the metrics have lost; the last one may be unheard of."""
    last = int(read_last_metrics(run).get("step", 0))
    folder = run.folder / "checkpoint"
    steps = {int(name): name for name in sweep.store.names_in(folder) if name.isdecimal()}
    ahead = [name for step, name in sorted(steps.items()) if step > last + 1]
    if not ahead:
        return
    places = ", ".join(str(sweep.store.move_aside(folder / name)) for name in ahead)
    start = max((step for step in steps if step <= last + 1), default=0)
    tell(
        f"{run.key} goes on from {f'its checkpoint of report {start}' if start else 'the beginning'}: its metrics end "
        f"with report {last}, so after the newer checkpoints reports would be missing; those are in {places} now"
    )


def _reason_to_move(run: Run, has_started: bool) -> str:
    """Return why a run cannot go on from what is in its folder; empty if it can."""
    try:
        read_metrics(run)
    except DamagedRunError as error:
        line_error = error.__cause__
        if line_error is not None and line_error.__cause__ and is_storage_trouble(line_error.__cause__):
            raise  # the file may be whole
        return error.reason
    if has_started or names_its_run(run.folder):
        return ""
    return "it does not say of which run it is, and the study knows of none that has started there"
