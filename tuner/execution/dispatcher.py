"""Between the ledger and whatever executes runs: hands out no more runs than may be at work, and takes in results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tuner.execution.failures import Guard
from tuner.search.open_runs import RunQueue, num_left
from tuner.sweep.runs import Record, Run


class Observer(Protocol):
    """Is told of every change in the ledger, in the driver's main thread: must return at once."""

    def changed(self, record: Record) -> None:
        """Take note of a run that started, reported or ended."""
        ...


class Dispatcher:
    """Decides what is at work. The limit may change at any time: what is above it is put back at its next report."""

    def __init__(
        self, ledger: RunQueue, guard: Guard, observers: Sequence[Observer] = (), limit: Callable[[], int] = lambda: 1
    ) -> None:
        """Take what hands out runs, and how many of them may be at work right now."""
        self.guard = guard
        self.limit = limit
        self._ledger = ledger
        self._observers = observers
        self._at_work: set[str] = set()
        self._all_handed_out = False
        self._num_left = num_left(ledger)

    @property
    def num_wanted(self) -> int:
        """How many runs could be at work if there were no limit."""
        return len(self._at_work) if self._all_handed_out else max(self._num_left, 1)

    @property
    def num_above(self) -> int:
        """How many of the runs at work are above the limit, which is none while the driver winds down."""
        limit = 0 if self.guard.is_winding_down() else self.limit()
        return max(len(self._at_work) - limit, 0)

    @property
    def is_done(self) -> bool:
        """Whether no run will be handed out any more: what is above the limit is put back, and handed out later."""
        if self.guard.trouble is not None or self.guard.is_winding_down():
            return True
        return self._all_handed_out and not self._at_work

    def is_at_work(self, key: str) -> bool:
        """Return whether a run is handed out, and has neither ended nor been put back."""
        return key in self._at_work

    def next_run(self) -> Run | None:
        """Return the next run; None if as many are at work as may be, or if there is none: see `is_done`."""
        run = None
        if self.is_done or self._all_handed_out or len(self._at_work) >= self.limit():
            return None
        with self.guard.storage():
            run = self._ledger.next_run()
            self._all_handed_out = run is None
        if run is not None:
            self._at_work.add(run.key)
            self._changed(run.key)
        return run

    def take_in(self, key: str, result: dict[str, Any]) -> bool:
        """Take in what a run reports; return False if it is to stop here."""
        with self.guard.storage():
            return self._take_in(key, result)
        return False

    def fail(self, key: str, reason: str) -> None:
        """Take in that a run cannot go on, and why."""
        with self.guard.storage():
            self._ledger.fail(key, reason)
            self._ended(key)

    def put_back(self, key: str) -> None:
        """Take back a run that is not trained any further now; it is handed out again, from its checkpoint."""
        with self.guard.storage():
            self._ledger.requeue(key)
            self._all_handed_out = False
            self._leave(key)

    def _take_in(self, key: str, result: dict[str, Any]) -> bool:
        metrics = {
            name.removeprefix("metrics/"): value for name, value in result.items() if name.startswith("metrics/")
        }
        if result.get("failure") == "storage":
            self.guard.give_up(result["reason"])
            return False
        self.guard.hear(key)
        if "failure" in result:
            self.fail(key, f"{result['failure']}: {result['reason']}")
        elif result["finished"]:
            self._ledger.complete(key, metrics)
            self._ended(key)
        elif self._ledger.report(key, metrics):
            if self.num_above:
                self.put_back(key)
            self._changed(key)
        else:
            self._ended(key)
        return self.is_at_work(key)

    def _ended(self, key: str) -> None:
        self._num_left -= 1
        self._leave(key)
        self._changed(key)

    def _leave(self, key: str) -> None:
        self._at_work.discard(key)
        self.guard.forget(key)

    def _changed(self, key: str) -> None:
        record = self._ledger.records[key]
        self.guard.note(record)
        for observer in self._observers:
            observer.changed(record)
