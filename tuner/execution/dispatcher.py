"""Between the queue of runs and what trains them: starts no more runs than the limit, and records their reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from trainables.common.redaction import redact
from trainables.worker.context import OUT_OF_MEMORY
from tuner.execution.failures import FailurePolicy
from tuner.search.open_runs import RunQueue, num_left
from tuner.sweep.runs import Record, Run

STORAGE_FAILURE = "storage"


@dataclass(frozen=True)
class Report:
    """What a worker reports of its run.

    Attributes:
        metrics: of this report, by name; empty if training failed.
        finished: the run's compute is spent.
        failure: kind of failure, None if there was none; ``storage`` is no fault of the run.
        reason: of the failure.
    """

    metrics: Mapping[str, float]
    finished: bool = False
    failure: str | None = None
    reason: str = ""


class Observer(Protocol):
    """Is told of every change in the queue, in the driver's main thread; must return at once."""

    def changed(self, record: Record) -> None:
        """Take note of a run that started, reported or ended."""
        ...


class Dispatcher:
    """Decides which runs are running. The limit may change at any time; runs above it are requeued when they report.

    If the sweep's storage cannot be written, every method gives the sweep up (see `FailurePolicy.fatal`).

    Args:
        queue: the runs.
        policy: decides when a run, or the sweep, is given up.
        observers: told of every change.
        limit: returns how many runs may be running now.
        tell: says to a person what was done about a run.
    """

    def __init__(
        self,
        queue: RunQueue,
        policy: FailurePolicy,
        observers: Sequence[Observer] = (),
        limit: Callable[[], int] = lambda: 1,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.policy = policy
        self.limit = limit
        self._queue = queue
        self._tell = tell
        self._observers = observers
        self._running: set[str] = set()
        self._all_started = False
        self._num_left = num_left(queue)

    @property
    def num_wanted(self) -> int:
        """How many runs would be running without a limit."""
        return len(self._running) if self._all_started else max(self._num_left, 1)

    @property
    def num_above_limit(self) -> int:
        """How many of the running runs are above the limit, which is 0 while the driver winds down."""
        limit = 0 if self.policy.is_winding_down() else self.limit()
        return max(len(self._running) - limit, 0)

    @property
    def is_done(self) -> bool:
        """Whether no run will start any more; runs above the limit are requeued, and start later."""
        if self.policy.fatal is not None or self.policy.is_winding_down():
            return True
        return self._all_started and not self._running

    def is_running(self, key: str) -> bool:
        """Return whether a run has started, and has neither ended nor been requeued."""
        return key in self._running

    def next_run(self) -> Run | None:
        """Start the next run and return it; None if the limit is reached, or if there is none: see `is_done`."""
        if self.is_done or self._all_started or len(self._running) >= self.limit():
            return None
        try:
            run = self._queue.next_run()
        except OSError as error:
            self.policy.storage_failed(error)
            return None
        if run is None:
            self._all_started = True
            return None
        self._running.add(run.key)
        self._changed(run.key)
        return run

    def on_report(self, key: str, report: Report) -> bool:
        """Record what a run reports; return whether it is to go on."""
        if report.failure == STORAGE_FAILURE:
            self.policy.give_up(report.reason)
            return False
        self.policy.heartbeat(key)
        if report.failure is not None:
            if report.failure == OUT_OF_MEMORY and self._retried_with_more(key):
                return False
            self.fail(key, f"{report.failure}: {report.reason}")
            return self.is_running(key)
        try:
            self._record(key, report)
        except OSError as error:
            self.policy.storage_failed(error)
            return False
        return self.is_running(key)

    def _retried_with_more(self, key: str) -> bool:
        """Requeue a run that found too little memory in its share of a GPU, if there is a larger one for it."""
        before = self.policy.gpu_of(key)
        if not self.policy.out_of_memory(key):
            return False
        self.requeue(key)
        more = self.policy.gpu_of(key)
        self._tell(
            f"{key} had too little memory in {before:g} of a GPU, and goes on from its last report with {more:g}"
        )
        return True

    def fail(self, key: str, reason: str) -> None:
        """Record that a run has failed, and why."""
        try:
            self._queue.fail(key, redact(reason))
            self._ended(key)
        except OSError as error:
            self.policy.storage_failed(error)

    def requeue(self, key: str) -> None:
        """Stop a run for now; it starts again later, from its checkpoint."""
        try:
            self._queue.requeue(key)
        except OSError as error:
            self.policy.storage_failed(error)
            return
        self._all_started = False
        self._remove(key)

    def _record(self, key: str, report: Report) -> None:
        metrics = dict(report.metrics)
        if report.finished:
            self._queue.complete(key, metrics)
            self._ended(key)
        elif self._queue.report(key, metrics):
            if self.num_above_limit:
                self.requeue(key)
            self._changed(key)
        else:
            self._ended(key)

    def _ended(self, key: str) -> None:
        self._num_left -= 1
        self._remove(key)
        self._changed(key)

    def _remove(self, key: str) -> None:
        self._running.discard(key)
        self.policy.remove(key)

    def _changed(self, key: str) -> None:
        record = self._queue.records[key]
        self.policy.record_outcome(record)
        for observer in self._observers:
            observer.changed(record)
