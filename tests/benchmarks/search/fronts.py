"""Searches for clean against robust accuracy on the MNIST curves: how much of the front they find.

``python -m tests.benchmarks front``: the hypervolume of the trials that were trained to the end, as a share of that of
all 108, over the worst accuracies of the table.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import optuna
from optuna.pruners import BasePruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from rich import box
from rich.console import Console
from rich.table import Table

from search_spaces.sections import Objective
from tests.benchmarks.search.sides import FACTOR, PoolSampler
from tests.benchmarks.search.simulation import LOOKS
from tests.benchmarks.search.tables import CurveTable, Pool, read_mnist
from tuner.search.distributions import suggest
from tuner.search.pareto_pruner import ParetoPruner
from tuner.search.samplers import build_sampler
from tuner.search.sampling.several_objectives import report_attribute
from tuner.search.sampling.untried import TriedPoints

NUM_WORKERS = 4
MakeSampler = Callable[[CurveTable, int], Callable[[int], BaseSampler]]


def _kept(make: Callable[[int], BaseSampler], table: CurveTable, seed: int) -> Callable[[int], BaseSampler]:
    sampler = make(seed)
    return lambda number: sampler


def _ours(table: CurveTable, seed: int) -> Callable[[int], BaseSampler]:
    search = table.space.search.model_copy(update={"sampler": "tpe", "seed": seed})
    objectives = (Objective(metric="robust"), Objective(metric="clean"))
    space = table.space.model_copy(update={"search": search, "objectives": objectives})
    tried = TriedPoints(space)
    return lambda number: build_sampler(space, number, tried)


SIDES: dict[str, tuple[MakeSampler, bool]] = {
    "random, pruned on robust": (partial(_kept, lambda seed: RandomSampler(seed=seed)), False),
    "NSGA-II, pruned on robust": (partial(_kept, lambda seed: NSGAIISampler(seed=seed, population_size=8)), False),
    "Optuna's TPE, pruned on robust": (partial(_kept, lambda seed: TPESampler(seed=seed)), False),
    "ours, pruned on robust": (_ours, False),
    "ours, prune_on: pareto": (_ours, True),
}


def main(arguments: Sequence[str], console: Console) -> int:
    """Print for each side the mean share of the front's hypervolume after some full trials."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks front")
    parser.add_argument("--seeds", type=int, default=100)
    num_seeds = parser.parse_args(arguments).seeds
    table = read_mnist()
    looks = (*LOOKS, 2 * LOOKS[-1])
    shown = Table(
        title=f"front: clean against robust accuracy, {NUM_WORKERS} workers: share of the hypervolume of all "
        f"{len(table.settings)} trials",
        caption=f"mean of {num_seeds} seeds and its standard error, after so many full trials; halving from report "
        f"{table.rung} of {table.num_reports} on, factor {FACTOR}",
        box=box.SIMPLE_HEAD,
    )
    for name in ("side", *(f"@{look}" for look in looks)):
        shown.add_column(name, justify="left" if name == "side" else "right")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for side, (make, by_rank) in SIDES.items():
            shares = np.array([found(table, make(table, seed), by_rank, looks) for seed in range(num_seeds)])
            errors = shares.std(0, ddof=1) / np.sqrt(num_seeds)
            shown.add_row(
                side, *(f"{mean:.3f} ±{error:.3f}" for mean, error in zip(shares.mean(0), errors, strict=True))
            )
    console.print(shown)
    return 0


def found(
    table: CurveTable, make_sampler: Callable[[int], BaseSampler], by_rank: bool, looks: Sequence[int]
) -> list[float]:
    """Run one search, and return the share of the hypervolume that it has found after so many full trials each."""
    pool, order = Pool(table), itertools.count()
    search = optuna.create_study(directions=["maximize", "maximize"])
    halving: BasePruner = SuccessiveHalvingPruner(min_resource=table.rung, reduction_factor=FACTOR)
    if by_rank:
        halving = ParetoPruner(search, table.rung, FACTOR)
    pruning = optuna.create_study(direction="maximize", pruner=halving)
    queue: list[tuple[int, int, optuna.Trial, optuna.Trial, int, int]] = []
    ends = np.stack([table.reports[:, -1], table.second[:, -1]], axis=1)
    whole = hypervolume(ends, ends.min(0))
    complete: list[int] = []
    shares: list[float] = []

    def start(now: int) -> None:
        number = len(search.get_trials(deepcopy=False))
        search.sampler = PoolSampler(pool, make_sampler(number))
        trial = search.ask()
        table.space.settings(partial(suggest, trial))
        heapq.heappush(queue, (now + 1, next(order), trial, pruning.ask(), pool.row_of(trial.params), 1))

    for _ in range(NUM_WORKERS):
        start(0)
    while True:
        now, _, trial, watched, row, step = heapq.heappop(queue)
        while now * NUM_WORKERS > looks[len(shares)] * table.num_reports:
            shares.append(hypervolume(ends[complete], ends.min(0)) / whole)
            if len(shares) == len(looks):
                return shares
        point = [float(table.reports[row, step - 1]), float(table.second[row, step - 1])]
        if step == table.num_reports:
            search.tell(trial, point)
            pruning.tell(watched, point[0])
            complete.append(row)
            start(now)
            continue
        trial.set_user_attr(report_attribute(step), point)
        watched.report(point[0], step)
        if watched.should_prune():
            search.tell(trial, state=optuna.trial.TrialState.PRUNED)
            pruning.tell(watched, state=optuna.trial.TrialState.PRUNED)
            start(now)
        else:
            heapq.heappush(queue, (now + 1, next(order), trial, watched, row, step + 1))


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Return the area that points of two objectives, to be maximised, dominate above a reference point."""
    area, height = 0.0, float(reference[1])
    for first, second in sorted(map(tuple, points), reverse=True):
        if second > height:
            area += (first - float(reference[0])) * (second - height)
            height = second
    return area
