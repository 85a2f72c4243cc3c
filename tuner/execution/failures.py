"""When a run, or the whole sweep, is given up: time-outs, dead workers, failures in a row, storage that is full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from trainables.storage.atomic import is_storage_trouble
from tuner.errors import SweepError
from tuner.sweep.runs import Record

FAILURES_IN_A_ROW = 5
# A worker that dies is tried again from its run's checkpoint this often. What training itself raises never gets here.
INFRASTRUCTURE_RETRIES = 3
# Longest step of the time-out's clock: a driver that was stopped itself receives no reports meanwhile.
_BLINK_S = 5.0


class FailurePolicy:
    """Decides when a run is tried again, when it fails, and when the whole sweep is given up.

    Args:
        timeout_s: seconds within which a run must report, None for no limit.
        clock: returns the time in seconds.
        is_winding_down: returns whether no run is to start, and those that are running are to be requeued.
        gpu: what a run occupies of a GPU.

    Attributes:
        fatal: why the sweep is given up, None while it goes on.
    """

    def __init__(
        self,
        timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        is_winding_down: Callable[[], bool] = lambda: False,
        gpu: float = 0.0,
    ) -> None:
        self.fatal: SweepError | None = None
        self.is_winding_down = is_winding_down
        self._timeout_s = timeout_s
        self._gpu = gpu
        self._memory_retries: Counter[str] = Counter()
        self._clock = clock
        self._looked_at = clock()
        self._watched_s = 0.0
        self._last_report_s: dict[str, float] = {}
        self._timeouts: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._evicted: set[str] = set()
        self._num_failures = 0

    def heartbeat(self, key: str) -> None:
        """Note that a run has started or reported."""
        self._last_report_s[key] = self._watched_s

    def remove(self, key: str) -> None:
        """Note that a run has no worker any more."""
        self._last_report_s.pop(key, None)

    def timed_out(self) -> list[str]:
        """Return the runs that have not reported in time, each once; to be called every second or so."""
        now = self._clock()
        self._watched_s += min(now - self._looked_at, _BLINK_S)
        self._looked_at = now
        if self._timeout_s is None:
            return []
        keys = [key for key, last_s in self._last_report_s.items() if self._watched_s - last_s > self._timeout_s]
        for key in keys:
            self.remove(key)
            self._timeouts[key] += 1
        return keys

    def blame(self, timed_out: str, key: str) -> None:
        """Note that it is another run for which one has not reported in time."""
        self._timeouts[timed_out] -= 1
        self._timeouts[key] += 1

    def memory_retries(self, key: str) -> int:
        """Return how often a run was begun again because its GPU had no more memory for it."""
        return self._memory_retries[key]

    def gpu_of(self, key: str) -> float:
        """Return what a run occupies of a GPU: what all do, then twice that, then a whole one if memory runs out."""
        retries = self._memory_retries[key]
        return min(2 * self._gpu, 1.0) if retries == 1 else max(self._gpu, 1.0) if retries else self._gpu

    def out_of_memory(self, key: str) -> bool:
        """Note that a GPU had no more memory for a run; return whether it is tried again with a larger share."""
        before = self.gpu_of(key)
        if not 0 < before < 1:
            return False
        self._memory_retries[key] += 1
        return True

    def expect_eviction(self, key: str) -> None:
        """Note that a run's worker is about to be ended because its machine is taken away, which is no run's fault."""
        self._evicted.add(key)

    def worker_died(self, key: str, error: str, *, with_machine: bool) -> str | None:
        """Note that a run's worker has died.

        A run is tried again after three deaths on machines that live on, after one time-out, and after any number of
        deaths together with a machine.

        Args:
            key: of the run.
            error: what Ray says of the death.
            with_machine: the worker's machine has died, too.

        Returns:
            Why the run fails, None if it is tried again.
        """
        self.remove(key)
        self._deaths[key] += not (with_machine or key in self._evicted)
        self._evicted.discard(key)
        goes_on = self._timeouts[key] <= 1 and self._deaths[key] <= INFRASTRUCTURE_RETRIES
        return None if goes_on else self.reason(key, error)

    def reason(self, key: str, error: str) -> str:
        """Return why a run's worker was lost, as it is shown to users."""
        if self._timeouts[key]:
            return f"timeout: no report within {self._timeout_s:g} s, twice"
        if "OutOfMemory" in error or "running low on memory" in error:
            return f"out of memory: the worker was killed to save its machine; fewer runs at once need less\n{error}"
        return f"worker: {error}"

    def record_outcome(self, record: Record) -> None:
        """Count failures in a row; a run that diverged shows that training works, so it is none of them."""
        if record.state == "running":
            return
        reason = record.reason or ""
        if record.state != "failed" or reason.startswith("diverged"):
            self._num_failures = 0
            return
        self._num_failures += 1
        if self._num_failures == FAILURES_IN_A_ROW:
            last = reason.strip().splitlines()[-1]
            self.fatal = SweepError(f"{FAILURES_IN_A_ROW} runs in a row have failed, {record.run.key} by: {last}")

    def storage_failed(self, error: OSError) -> None:
        """Give the sweep up because its storage is full or cannot be written.

        Raises:
            OSError: the error, if it has another cause.
        """
        if not is_storage_trouble(error):
            raise error
        self.give_up(str(error))

    def give_up(self, reason: str) -> None:
        """Give the sweep up because its storage cannot be written; what is reported from now on is done again."""
        self.fatal = self.fatal or SweepError(f"the sweep cannot be written: {reason}")
