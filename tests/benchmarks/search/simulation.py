"""One search over a table, with simulated workers: each trains a report in a unit of time."""

from __future__ import annotations

import heapq
import itertools
import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from tests.benchmarks.search.sides import Searcher
from tests.benchmarks.search.tables import CurveTable

LOOKS = (5, 10, 20)
"""Full trials after which the regret is measured."""


@dataclass(frozen=True)
class Outcome:
    """What became of a search. Compute is that of all workers together, in full trials.

    Attributes:
        needed: compute until a good setting had been trained to its end; infinite if that did not happen.
        regret: of the best setting that was trained to its end after each of `LOOKS`, see `CurveTable.regret`.
    """

    needed: float
    regret: tuple[float, ...]

    def as_row(self) -> dict[str, Any]:
        """Return it with what JSON has: null stands for infinite."""
        return {**asdict(self), "needed": None if math.isinf(self.needed) else self.needed}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Outcome:
        """Return what `as_row` has made a row of."""
        return cls(math.inf if row["needed"] is None else row["needed"], tuple(row["regret"]))


def simulate(searcher: Searcher, table: CurveTable, num_workers: int) -> Outcome:
    """Run one search until it has found a good setting and the last of `LOOKS` is over, or the table's limit is."""
    order = itertools.count()
    queue: list[tuple[int, int, str, int, int]] = []  # time of the next report, tie-break, trial, row, its report
    per_trial = table.num_reports / num_workers
    regrets: list[float] = []
    best: int | None = None
    needed = math.inf

    def start(now: int) -> None:
        key, row = searcher.next()
        heapq.heappush(queue, (now + 1, next(order), key, row, 1))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(num_workers):
            start(0)
        while True:
            now, _, key, row, step = heapq.heappop(queue)
            while len(regrets) < len(LOOKS) and now > LOOKS[len(regrets)] * per_trial:
                regrets.append(table.regret(best))
            if now > table.limit * per_trial or (needed < math.inf and len(regrets) == len(LOOKS)):
                return Outcome(needed, tuple(regrets))
            value = float(table.reports[row, step - 1])
            if step == table.num_reports:
                searcher.complete(key, step, value)
                best = row if best is None or table.ends[row] > table.ends[best] else best
                if row in table.good:
                    needed = min(needed, now / per_trial)
                start(now)
            elif searcher.report(key, step, value):
                heapq.heappush(queue, (now + 1, next(order), key, row, step + 1))
            else:
                start(now)
