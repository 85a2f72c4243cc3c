"""Runs that have ended and whose files are damaged, trained again up to the report with which they had ended.

The study stays as it is. Training is deterministic on one machine: a run that is trained again has to give the metrics
that it had; if it does not, that is said, and its files are not used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.trial import FrozenTrial

from trainables.evaluation.metrics import GPU_SHARE, MEMORY_RETRIES, PACK
from tuner.errors import CheckpointError, DamagedRunError
from tuner.storage.metrics_file import FILE
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import ended_or_running, last_step_of, make_record, read_studies, record_of, run_of
from tuner.sweep.runs import Kind, Record, Run, append_metrics, read_metrics

_KINDS: tuple[Kind, ...] = ("baseline", "trial", "confirm")
_OF_ONE_ATTEMPT = ("train_s", "evaluation_s", GPU_SHARE, PACK, MEMORY_RETRIES, "time")


@dataclass
class _Damaged:
    """A run to be trained again.

    Attributes:
        run: the run.
        trial: of the study; says how the run had ended.
        last_row: step of the last row in its metrics file.
        metrics: of its last report; empty if they are lost, too.
    """

    run: Run
    trial: FrozenTrial
    last_row: int
    metrics: Mapping[str, float]


class RepairQueue:
    """The damaged runs of a sweep, see `tuner.search.open_runs.RunQueue`.

    A run whose metrics are damaged is trained from the beginning, and its folder is moved aside. One of which only the
    last checkpoint is damaged goes on from an older one.

    Attributes:
        records: of the runs that are trained again: running until they are as they were, then complete.
        failures: a line for each run that could not be repaired.

    Args:
        sweep: whose lock the caller holds.
        tell: says to a person what is done.
    """

    def __init__(self, sweep: SweepFolder, tell: Callable[[str], None]) -> None:
        self._sweep = sweep
        self._tell = tell
        self.records: dict[str, Record] = {}
        self.failures: list[str] = []
        self._damaged: dict[str, _Damaged] = {}
        for kind, trial in ended_or_running(read_studies(sweep), _KINDS):
            if trial.state.is_finished():
                self._add_if_damaged(run_of(sweep, kind, trial), trial)
        self._left = list(self._damaged)
        self.num_runs = len(self._left)

    def _add_if_damaged(self, run: Run, trial: FrozenTrial) -> None:
        try:
            record = record_of(self._sweep, run, trial)
            read_metrics(run)
        except DamagedRunError as error:
            self._tell(f"{run.key} is trained again, because of its {FILE}: {error.reason}")
            if run.folder.exists():
                self._tell(f"what was in its folder is in {self._sweep.store.move_aside(run.folder)} now")
            damaged = _Damaged(run, trial, 0, {})
        else:
            reason = self._why_unusable(record)
            if not reason:
                return
            self._tell(f"{run.key} is trained again from an older checkpoint or the beginning: {reason}")
            damaged = _Damaged(run, trial, int(record.metrics["step"]), record.metrics)
        self._damaged[run.key] = damaged
        self.records[run.key] = Record(run, "running", dict(damaged.metrics))

    def _why_unusable(self, record: Record) -> str:
        """Return why the checkpoint of a run's last report cannot be used; empty if it can, or the run has none."""
        if not record.metrics:
            return ""
        try:
            self._sweep.last_checkpoint(record).load()
        except CheckpointError as error:
            return str(error).removesuffix(f"; {record.run.remedy}")
        return ""

    @property
    def num_left(self) -> int:
        """Number of runs that are not yet as they were."""
        return len(self._damaged)

    def next_run(self) -> Run | None:
        """Return the next run; None if there is none."""
        while self._left:
            damaged = self._damaged[self._left.pop(0)]
            if last_step_of(damaged.trial) == 0:  # it had ended before its first report: nothing is to be trained
                self._end(damaged)
                continue
            return damaged.run
        return None

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Append a report that the metrics file does not have; return False at that with which the run had ended."""
        damaged = self._damaged[key]
        if metrics["step"] > damaged.last_row:
            damaged.run.folder.mkdir(parents=True, exist_ok=True)
            append_metrics(damaged.run, {**metrics, "time": time.time()}, self._sweep.store)
            damaged.last_row = int(metrics["step"])
        if metrics["step"] != (last_step_of(damaged.trial) or damaged.metrics.get("step")):
            return True
        self._end(damaged, metrics)
        return False

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Take the last report of a run that has spent its compute."""
        if self.report(key, metrics):
            self._end(self._damaged[key], metrics)

    def fail(self, key: str, reason: str) -> None:
        """Record that a run could not be trained again."""
        del self._damaged[key]
        self.records[key] = replace(self.records[key], state="failed", reason=reason)
        self.failures.append(f"{key} could not be trained again: {reason.strip().splitlines()[-1]}")

    def requeue(self, key: str) -> None:
        """Queue a run again."""
        self._left.append(key)

    def _end(self, damaged: _Damaged, metrics: Mapping[str, float] | None = None) -> None:
        run = damaged.run
        del self._damaged[run.key]
        try:
            self._compare(damaged, metrics or {})
        except DamagedRunError as error:
            aside = self._sweep.store.move_aside(self._unequal_folder(damaged))
            self.failures.append(f"{run.key} was trained again, and is not what it was: {error.reason}; see {aside}")
            return
        self.records[run.key] = replace(record_of(self._sweep, run, damaged.trial), state="complete")
        self._tell(f"{run.key} is as it was")

    def _compare(self, damaged: _Damaged, metrics: Mapping[str, float]) -> None:
        make_record(self._sweep, damaged.run, damaged.trial, metrics)
        for name in metrics.keys() & damaged.metrics.keys() - set(_OF_ONE_ATTEMPT):
            if metrics[name] != damaged.metrics[name]:
                reason = f"{name} is {metrics[name]}, and was {damaged.metrics[name]}"
                raise DamagedRunError(reason, reason)

    def _unequal_folder(self, damaged: _Damaged) -> Path:
        """Return the folder that must not be used: of the last checkpoint, or of the whole run if metrics were lost."""
        if not damaged.metrics:
            return damaged.run.folder
        return self._sweep.last_checkpoint(Record(damaged.run, "complete", dict(damaged.metrics))).path
