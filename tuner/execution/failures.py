"""When a run, or the whole sweep, is given up: runs that hang, failures in a row, a disk that cannot be written."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

from trainables.storage.atomic import is_storage_trouble
from tuner.errors import SweepError
from tuner.sweep.runs import Record

FAILURES_IN_A_ROW = 5
# A worker that dies is tried again from its run's checkpoint this often. What training itself raises never gets here.
INFRASTRUCTURE_RETRIES = 3
# A driver that was stopped or blocked itself hears of nothing meanwhile; what it missed is no run's fault.
_BLINK_S = 5.0


class Guard:
    """Watches the runs of one driver; ``trouble`` is why the sweep is given up, once it is."""

    def __init__(
        self,
        timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        is_winding_down: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the seconds within which a run must report, None for no limit, and what tells the time.

        ``is_winding_down`` says whether somebody wants no run to begin, and those that have begun to be put back.
        """
        self.trouble: SweepError | None = None
        self.is_winding_down = is_winding_down
        self._timeout_s = timeout_s
        self._clock = clock
        self._looked_at = clock()
        self._watched_s = 0.0
        self._heard_s: dict[str, float] = {}
        self._timeouts: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._moving: set[str] = set()
        self._num_failures = 0

    def hear(self, key: str) -> None:
        """Note that a run has started or reported."""
        self._heard_s[key] = self._watched_s

    def forget(self, key: str) -> None:
        """Note that a run has no worker any more."""
        self._heard_s.pop(key, None)

    def hanging(self) -> list[str]:
        """Return the runs that have not been heard of in time, each once; to be called every second or so."""
        now = self._clock()
        self._watched_s += min(now - self._looked_at, _BLINK_S)
        self._looked_at = now
        if self._timeout_s is None:
            return []
        found = [key for key, heard_s in self._heard_s.items() if self._watched_s - heard_s > self._timeout_s]
        for key in found:
            self.forget(key)
            self._timeouts[key] += 1
        return found

    def move(self, key: str) -> None:
        """Note that a run's worker is about to be ended because its machine is taken away, which is no run's fault."""
        self._moving.add(key)

    def died(self, key: str, error: str, *, with_machine: bool) -> str | None:
        """Note that a run's worker has died; return why the run fails, or None if it is tried again.

        Three times for deaths on machines that live on, once for hanging, and as often as it takes for those that die
        with their machine.
        """
        self.forget(key)
        self._deaths[key] += not (with_machine or key in self._moving)
        self._moving.discard(key)
        goes_on = self._timeouts[key] <= 1 and self._deaths[key] <= INFRASTRUCTURE_RETRIES
        return None if goes_on else self.reason(key, error)

    def reason(self, key: str, error: str) -> str:
        """Return why a run's worker was lost, for people."""
        if self._timeouts[key]:
            return f"timeout: no report within {self._timeout_s:g} s, twice"
        if "OutOfMemory" in error or "running low on memory" in error:
            return f"out of memory: the worker was killed to save its machine; fewer runs at once need less\n{error}"
        return f"worker: {error}"

    def note(self, record: Record) -> None:
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
            self.trouble = SweepError(f"{FAILURES_IN_A_ROW} runs in a row have failed, {record.run.key} by: {last}")

    @contextlib.contextmanager
    def storage(self) -> Iterator[None]:
        """Give the sweep up if what is done here finds its disk full or not writable."""
        try:
            yield
        except OSError as error:
            if not is_storage_trouble(error):
                raise
            self.give_up(str(error))

    def give_up(self, reason: str) -> None:
        """Give the sweep up for a place that cannot be written; whatever is reported from now on is done again."""
        self.trouble = self.trouble or SweepError(f"the sweep cannot be written: {reason}")
