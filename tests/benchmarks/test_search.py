"""The simulation behind the benchmark of searches, and the recorded curves that it runs over."""

from __future__ import annotations

import math
from typing import Any

import pytest

from search_spaces.configurations import load_space
from tests.benchmarks import curves
from tests.benchmarks.curves import Curve
from tests.benchmarks.search import METRIC, Plain, compute_needed


class Scripted:
    """Tries the points 0, 1, 2, ... and stops those it is told to at their first report."""

    def __init__(self, stopped: set[int]) -> None:
        self.stopped = stopped
        self.begun = 0
        self.heard: list[tuple[str, int, float]] = []

    def next(self) -> tuple[str, dict[str, Any]]:
        self.begun += 1
        return str(self.begun - 1), {"x": (self.begun - 1) % 4}

    def report(self, key: str, step: int, metrics: dict[str, float]) -> bool:
        self.heard.append((key, step, metrics[METRIC]))
        return int(key) not in self.stopped

    def complete(self, key: str, step: int, metrics: dict[str, float]) -> None:
        self.heard.append((key, step, metrics[METRIC]))


def table(*ends: float) -> dict[str, Curve]:
    made = [Curve({"x": x}, 1.0, [1.0, 2.0], [0.9, 0.9], [end / 2, end]) for x, end in enumerate(ends)]
    return {curves.key_of(curve.chosen): curve for curve in made}


@pytest.mark.parametrize(("num_workers", "needed"), [(1, 8.0), (2, 8.0), (4, 8.0)])
def test_compute_counts_what_all_workers_spend(num_workers, needed):
    assert compute_needed(Scripted(set()), table(0.1, 0.2, 0.3, 0.9), num_workers) == needed


def test_a_stopped_trial_spends_what_it_has_trained():
    searcher = Scripted({0, 1, 2})
    assert compute_needed(searcher, table(0.1, 0.2, 0.3, 0.9), 1) == 5.0
    assert searcher.heard == [("0", 1, 0.05), ("1", 1, 0.1), ("2", 1, 0.15), ("3", 1, 0.45), ("3", 2, 0.9)]


def test_a_search_that_always_stops_the_best_never_finds_it():
    assert compute_needed(Scripted({3 + 4 * turn for turn in range(100)}), table(0.1, 0.2, 0.3, 0.9), 2) == math.inf


def test_plain_stops_and_tells_what_was_stopped_as_complete():
    searcher = Plain(8, 0)
    keys = [searcher.next()[0] for _ in range(9)]
    goes_on = [searcher.report(key, 1, {METRIC: 0.9 - 0.1 * int(key)}) for key in keys]
    assert goes_on[0]
    assert not any(goes_on[1:])
    trials = searcher._search._ot_study.trials
    assert [trial.value for trial in trials[1:]] == pytest.approx([0.9 - 0.1 * int(key) for key in keys[1:]])


def test_every_point_of_the_space_is_recorded():
    recorded = curves.read()
    points = [curves.key_of(point) for point in load_space(str(curves.SPACE)).grid()]
    assert set(recorded) == set(points)
    assert curves.TRIALS.stat().st_size < 200_000
    for curve in recorded.values():
        assert curve.compute == sorted(curve.compute)
        assert len(curve.compute) == len(curve.robust_accuracy) == len(curve.clean_accuracy) == 8
