"""What `budget: {until: converged}` saves on recorded curves, and how often it ends a search too early.

``python -m tests.benchmarks converged [FOLDER]``: whole searches, ended afterwards where the rule ends them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks.search.sides import Searcher, make_searcher
from tests.benchmarks.search.simulation import simulate
from tests.benchmarks.search.tables import CHOSEN_ON, MNIST, TASKSET, CurveTable, read_tables
from tuner.statistics import image_noise
from tuner.sweep.state import CONVERGED

NUM_IMAGES = 1000  # of the MNIST curves
LOSS_NOISE = 0.01  # of a validation loss of TaskSet, some 2 % of a good one
CHANCES = (0.2, CONVERGED, 0.05)
BINS = ((0.3, 0.5), (0.15, 0.3), (0.08, 0.15), (0.0, 0.08))

Ended = tuple[float | None, float]
"""What a trial was worth, more being better, None if it was stopped; and what it spent, in full trials."""


class Watched:
    """A searcher, and the trials that have ended in it in their order.

    Args:
        searcher: that searches.
        table: that it searches.
    """

    def __init__(self, searcher: Searcher, table: CurveTable) -> None:
        self._searcher = searcher
        self._table = table
        self.ended: list[Ended] = []

    def next(self) -> tuple[str, int]:
        return self._searcher.next()

    def report(self, key: str, step: int, value: float) -> bool:
        goes_on = self._searcher.report(key, step, value)
        if not goes_on:
            self.ended.append((None, step / self._table.num_reports))
        return goes_on

    def complete(self, key: str, step: int, value: float) -> None:
        self._searcher.complete(key, step, value)
        self.ended.append((self._table.space.objective.sign * value, 1.0))


def chances(ended: Sequence[Ended], is_share: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return after each trial the chance of an improvement, whether the trial was one, and the compute so far."""
    known, spent, total = -math.inf, 0.0, 0.0
    rows = []
    for value, compute in ended:
        total += compute
        noise = image_noise(value, known, NUM_IMAGES) if is_share and value and known > 0 else LOSS_NOISE
        is_better = value is not None and (known == -math.inf or value - known > noise)
        known, spent = (value, 0.0) if is_better and value is not None else (known, spent + compute)
        rows.append((1 / (spent + 2) if known > -math.inf else 1.0, is_better, total))
    columns = np.array(rows)
    return columns[:, 0], columns[:, 1] > 0, columns[:, 2]


def main(arguments: Sequence[str], console: Console) -> int:
    """Print what the rule saves and loses, and how often what it takes for probable happens."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks converged")
    parser.add_argument("folder", nargs="?", type=Path, default=TASKSET, help="of TaskSet's tables (*.npz)")
    parser.add_argument("--tables", default=",".join([MNIST, *CHOSEN_ON]), help="names with commas")
    parser.add_argument("--seeds", type=int, default=50)
    options = parser.parse_args(arguments)
    tables = read_tables(options.folder, options.tables.split(","))
    for name in options.tables.split(","):
        if name not in tables:
            console.print(f"{name} is skipped: there is no such table in {options.folder}", style="yellow")
            continue
        table = replace(tables[name], good=frozenset())  # every search goes on to the limit
        searches = []
        for seed in range(options.seeds):
            watched = Watched(make_searcher("ours", table, seed), table)
            simulate(watched, table, 4)
            searches.append(chances(watched.ended, is_share=name == MNIST))
        console.print(_table(table, searches))
    return 0


def _table(table: CurveTable, searches: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Table:
    happened = ", ".join(f"{low:.0%}-{high:.0%}: {_frequency(searches, low, high)}" for low, high in BINS)
    shown = Table(
        title=f"converged: {table.name}, {len(searches)} searches of {table.limit} full trials, 4 workers",
        caption="too early: later in the search a trial was better by more than noise; how often the next full "
        f"trial's compute held an improvement, by the chance that was said: {happened}",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("ends at a chance of", "compute spent", "too early"):
        shown.add_column(heading, justify="right")
    for chance in CHANCES:
        spent, early = [], []
        for said, is_better, total in searches:
            ends = np.flatnonzero(said <= chance)
            end = int(ends[0]) if len(ends) else len(said) - 1
            spent.append(total[end] / total[-1])
            early.append(bool(is_better[end + 1 :].any()))
        shown.add_row(f"{chance:g}", f"{np.mean(spent):.0%}", f"{np.mean(early):.0%}")
    return shown


def _frequency(searches: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], low: float, high: float) -> str:
    happened = []
    for said, is_better, total in searches:
        for index in np.flatnonzero((said > low) & (said <= high) & (total + 1 <= total[-1])):
            happened.append(bool(is_better[index + 1 :][total[index + 1 :] <= total[index] + 1].any()))
    return f"{np.mean(happened):.0%}" if happened else "none"
