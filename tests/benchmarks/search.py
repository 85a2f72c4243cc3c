"""Compute that searches need on recorded learning curves until a trial, trained to its end, comes near the best known.

Workers are simulated, each a unit of compute per unit of time; searchers are the real ones: our ledger with its
sampler and pruner, Ray's `OptunaSearch` with its `ASHAScheduler`. Nobody knows the table: all begin at random.
"""

from __future__ import annotations

import heapq
import itertools
import math
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch
from rich.table import Table

from search_spaces.configurations import load_space
from tests.benchmarks import curves
from tests.benchmarks.curves import Curve
from tuner.search.distributions import suggest
from tuner.search.ledger import Ledger
from tuner.storage.journal import Journal
from tuner.sweep.folder import SweepFolder

NUM_SEEDS = 20
WORKERS = (2, 4)
MARGIN = 0.01
"""Of robust accuracy, below the best known: what counts as having found it."""
GIVE_UP = 3
"""A search that needs more than so many times the compute of the whole grid has not found it."""
AIM = 0.5
PLAIN = "plain"
PLAIN_AS_OURS = "plain, ASHA as ours"

METRIC = "robust"
GRID = "search: {sampler: grid, seed: 0}"


class Searcher(Protocol):
    """Chooses points, and stops trials early."""

    def next(self) -> tuple[str, dict[str, Any]]:
        """Return a new trial's key and its point."""
        ...

    def report(self, key: str, step: int, metrics: dict[str, float]) -> bool:
        """Take in a report; return whether the trial goes on."""
        ...

    def complete(self, key: str, step: int, metrics: dict[str, float]) -> None:
        """Take in the last report of a trial that was trained to its end."""
        ...


class Ours:
    """A sweep's ledger with some search section."""

    def __init__(self, folder: Path, search: str, seed: int) -> None:
        text = curves.SPACE.read_text().replace("budget: {", "budget: {trials: 1000000, ")
        text = text.replace(GRID, f"search: {{{search}, seed: {seed}}}")
        sweep = SweepFolder.create("search", text, "search.yaml", home=folder)
        self._ledger = Ledger(sweep)
        self._space = sweep.space

    def next(self) -> tuple[str, dict[str, Any]]:
        run = self._ledger.next_run()
        if run is None:
            raise RuntimeError("the ledger starts no further run")
        return run.key, curves.chosen_of(self._space, run.settings)

    def report(self, key: str, step: int, metrics: dict[str, float]) -> bool:
        return self._ledger.report(key, {"step": step, **metrics})

    def complete(self, key: str, step: int, metrics: dict[str, float]) -> None:
        self._ledger.complete(key, {"step": step, **metrics})


@dataclass
class _RayTrial:
    trial_id: str


class Plain:
    """`OptunaSearch` and `ASHAScheduler` as Tune drives them."""

    def __init__(self, num_reports: int, seed: int, **asha: int) -> None:
        space = load_space(str(curves.SPACE))
        self._search = OptunaSearch(
            lambda trial: space.settings(lambda one: suggest(trial, one)) and None, METRIC, "max", seed=seed
        )
        self._scheduler = ASHAScheduler(metric=METRIC, mode="max", max_t=num_reports, **asha)
        self._trials: dict[str, _RayTrial] = {}

    def next(self) -> tuple[str, dict[str, Any]]:
        key = f"{len(self._trials):05d}"
        self._search.suggest(key)
        self._trials[key] = _RayTrial(key)
        self._scheduler.on_trial_add(None, self._trials[key])
        return key, self._search._ot_trials[key].params

    def report(self, key: str, step: int, metrics: dict[str, float]) -> bool:
        result = {"training_iteration": step, **metrics}
        self._search.on_trial_result(key, result)
        if self._scheduler.on_trial_result(None, self._trials[key], result) == TrialScheduler.CONTINUE:
            return True
        self._search.on_trial_complete(key, result)
        return False

    def complete(self, key: str, step: int, metrics: dict[str, float]) -> None:
        result = {"training_iteration": step, **metrics}
        self._search.on_trial_result(key, result)
        self._scheduler.on_trial_complete(None, self._trials[key], result)
        self._search.on_trial_complete(key, result)


def compute_needed(searcher: Searcher, table: dict[str, Curve], num_workers: int) -> float:
    """Return the compute of all workers together until a complete trial is near the best known; inf if late."""
    target = max(curve.robust_accuracy[-1] for curve in table.values()) - MARGIN
    limit = GIVE_UP * sum(curve.compute[-1] for curve in table.values())
    order = itertools.count()
    queue: list[tuple[float, int, str, Curve, int]] = []  # time of the next report, tie-break, trial, curve, its index

    def start(now: float) -> None:
        key, chosen = searcher.next()
        curve = table[curves.key_of(chosen)]
        heapq.heappush(queue, (now + curve.compute[0], next(order), key, curve, 0))

    for _ in range(num_workers):
        start(0.0)
    while queue[0][0] * num_workers < limit:
        now, _, key, curve, index = heapq.heappop(queue)
        accuracies = {"clean": curve.clean_accuracy[index], METRIC: curve.robust_accuracy[index]}
        watched = {f"watch/{name}": value for name, value in accuracies.items()}
        metrics = {**accuracies, **watched, "compute": curve.compute[index]}
        if index + 1 == len(curve.compute):
            searcher.complete(key, index + 1, metrics)
            if metrics[METRIC] >= target:
                return now * num_workers
            start(now)
        elif searcher.report(key, index + 1, metrics):
            then = now + curve.compute[index + 1] - curve.compute[index]
            heapq.heappush(queue, (then, next(order), key, curve, index + 1))
        else:
            start(now)
    return math.inf


Make = Callable[[Path, int], Searcher]


def _ours(search: str) -> Make:
    return lambda folder, seed: Ours(folder, search, seed)


def _plain(num_reports: int, **asha: int) -> Make:
    return lambda folder, seed: Plain(num_reports, seed, **asha)


def searchers(num_reports: int) -> dict[str, Make]:
    """Return what is compared, by what it is called."""
    halving = "{successive_halving: {min_resource: 3, reduction_factor: 3}}"
    return {
        "random": _ours("sampler: random, pruner: none"),
        PLAIN: _plain(num_reports),
        PLAIN_AS_OURS: _plain(num_reports, grace_period=3, reduction_factor=3),
        "ours, tpe": _ours(f"sampler: tpe, pruner: {halving}"),
        "ours, gp": _ours(f"sampler: gp, pruner: {halving}"),
    }


def measure() -> Table:
    """Return the compute that every searcher needs, with 20 seeds each."""
    recorded = curves.read()
    points = load_space(str(curves.SPACE)).grid()
    missing = sum(curves.key_of(point) not in recorded for point in points)
    if missing:
        raise RuntimeError(f"{missing} of {len(points)} points of {curves.SPACE} are not recorded")
    best = max(curve.robust_accuracy[-1] for curve in recorded.values())
    num_good = sum(curve.robust_accuracy[-1] >= best - MARGIN for curve in recorded.values())
    table = Table(
        title=f"search: compute until within a point of the best known robust accuracy, {100 * best:.1f} %",
        caption=f"{len(recorded)} recorded MNIST trials, {num_good} of them within a point; {NUM_SEEDS} seeds: "
        f"medians; never: not within {GIVE_UP} times the compute of all; "
        f"plain: OptunaSearch and ASHAScheduler with their defaults, or ASHA set as ours; aim: {AIM} of it",
    )
    for name in ("searcher", "workers", "compute", "quartiles", "never", "of plain", "of plain as ours"):
        table.add_column(name, justify="left" if name == "searcher" else "right")
    num_reports = max(len(curve.compute) for curve in recorded.values())
    at_most = GIVE_UP * sum(curve.compute[-1] for curve in recorded.values())
    medians: dict[tuple[str, int], float] = {}
    for name, make in searchers(num_reports).items():
        for num_workers in WORKERS:
            needed = sorted(_search(make, seed, recorded, num_workers) for seed in range(NUM_SEEDS))
            low, median, high = (needed[(len(needed) - 1) * quarter // 4] for quarter in (1, 2, 3))
            medians[name, num_workers] = median
            plain = (medians.get((other, num_workers)) for other in (PLAIN, PLAIN_AS_OURS))
            shares = (_share(median, of, at_most) for of in plain)
            quartiles = f"{_shown(low)}-{_shown(high)}"
            table.add_row(name, str(num_workers), _shown(median), quartiles, str(needed.count(math.inf)), *shares)
    return table


def _shown(compute: float) -> str:
    return "never" if math.isinf(compute) else f"{compute:.0f}"


def _share(median: float, of: float | None, at_most: float) -> str:
    """Return a median in units of another, at most that where the other was given up, nothing where it is unknown."""
    if of is None or math.isinf(median):
        return ""
    return f"< {median / at_most:.2f}" if math.isinf(of) else f"{median / of:.2f}"


def _search(make: Make, seed: int, table: dict[str, Curve], num_workers: int) -> float:
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        mock.patch.object(Journal, "sync"),  # nothing is at stake: no need to wait for the disk
    ):
        warnings.simplefilter("ignore")
        return compute_needed(make(Path(folder), seed), table, num_workers)
