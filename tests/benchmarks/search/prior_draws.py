"""What early draws around `first` find: around its best so far, around each in turn, or anywhere.

``python -m tests.benchmarks priors``. Every search lists some of the 108 recorded MNIST settings, from all or from the
best quarter, draws as many as a sweep does around them, and is as good as the best that it has listed or drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import numpy as np
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.table import Table

from search_spaces.sections import Search
from tests.benchmarks.search.tables import MARGIN, CurveTable, Pool, Settings, read_mnist
from tuner.search.distributions import distribution
from tuner.search.sampling.priors import AroundSampler

NUM_SEARCHES = 1000
NUMS_LISTED = (2, 5)
SHARES = {"all": 1.0, "the best quarter": 0.25}
"""Of the settings, from which a search lists some: those of somebody who knows nothing, or much."""
NUM_DRAWS = Search().prior_draws // 2
"""Every other one of the early draws lies around a point."""

Centre = Callable[[Sequence[Settings], int], Settings | None]
"""Returns what a draw lies around, from the listed settings, best first, and the number of the draw."""

WAYS: dict[str, Centre] = {
    "around the best": lambda listed, draw: listed[0],
    "around each in turn": lambda listed, draw: listed[draw % len(listed)],
    "anywhere": lambda listed, draw: None,
}


def measure() -> Table:
    """Return a table with a row for each way of drawing, number of listed settings, and what they are taken from."""
    table = read_mnist()
    shown = Table(
        *("listed", "of", "drawn", "mean best", "95 % of it", "near the best"),
        title=f"first: robust accuracy after {NUM_DRAWS} draws on the MNIST curves, {NUM_SEARCHES:,} searches",
        caption="near the best: share of searches within a point of the best of all",
    )
    best = table.ends.max()
    for source, share in SHARES.items():
        rows = np.argsort(-table.ends)[: round(share * len(table.ends))].tolist()
        for num_listed in NUMS_LISTED:
            for name, centre in WAYS.items():
                found = np.array([_search(table, centre, rows, num_listed, seed) for seed in range(NUM_SEARCHES)])
                half = 1.96 * found.std() / np.sqrt(len(found))
                interval = f"{100 * (found.mean() - half):.1f}-{100 * (found.mean() + half):.1f}"
                near = f"{100 * (found >= best - MARGIN).mean():.0f} %"
                shown.add_row(str(num_listed), source, name, f"{100 * found.mean():.1f} %", interval, near)
    return shown


def _search(table: CurveTable, centre: Centre, rows: Sequence[int], num_listed: int, seed: int) -> float:
    """Return the accuracy of the best setting that a search has listed, of some rows, best first, or drawn."""
    pool = Pool(table)  # no setting is tried twice, as in a sweep
    listed = [pool.take(table.settings[row]) for row in sorted(Random(seed).sample(rows, num_listed), key=rows.index)]
    drawn = [pool.take(_draw(table, centre(listed, draw), seed * NUM_DRAWS + draw)) for draw in range(NUM_DRAWS)]
    return float(max(table.ends[pool.row_of(settings)] for settings in (*listed, *drawn)))


def _draw(table: CurveTable, around: Settings | None, seed: int) -> Settings:
    sampler = RandomSampler(seed=seed) if around is None else AroundSampler(around, seed)
    study, trial = object.__new__(Study), object.__new__(FrozenTrial)  # neither sampler looks at them
    return {
        parameter.name: sampler.sample_independent(study, trial, parameter.name, distribution(parameter.domain))
        for parameter in table.space.parameters
        if parameter.varies
    }
