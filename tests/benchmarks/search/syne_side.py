"""Syne Tune's asynchronous successive halving with its own searchers, as its tuner drives them (extra ``bench``)."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from typing import Any

import numpy as np

from search_spaces.parameters import FloatRange, IntRange, Parameter
from tests.benchmarks.search.tables import CurveTable, Pool

METRIC = "value"
FACTOR = 3
SEARCHERS = {"ASHA": "random_search", "BOHB": "kde"}
"""Searchers of Syne Tune by what the side is called; its CQR also imports a client of a model hub."""


def is_installed() -> bool:
    """Return whether Syne Tune can be used here."""
    return importlib.util.find_spec("syne_tune") is not None


class SyneSide:
    """A scheduler of Syne Tune; its first rung is that of the table.

    Args:
        table: to search.
        seed: of its draws.
        searcher: its name at Syne Tune.
    """

    def __init__(self, table: CurveTable, seed: int, searcher: str) -> None:
        from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving

        np.random.seed(seed)
        self._pool = Pool(table)
        space = {item.name: _domain(item) for item in table.space.parameters if item.varies}
        self._scheduler = AsynchronousSuccessiveHalving(
            space,
            METRIC,
            do_minimize=table.mode == "min",
            searcher=searcher,
            max_t=table.num_reports,
            grace_period=table.rung,
            reduction_factor=FACTOR,
            random_seed=seed,
        )
        self._trials: dict[str, Any] = {}

    def next(self) -> tuple[str, int]:
        from syne_tune.backend.trial_status import Trial

        settings = self._pool.take(self._scheduler.suggest().config)
        trial = Trial(len(self._trials), settings, datetime.now(UTC))
        self._trials[str(trial.trial_id)] = trial
        self._scheduler.on_trial_add(trial)
        return str(trial.trial_id), self._pool.row_of(settings)

    def report(self, key: str, step: int, value: float) -> bool:
        from syne_tune.optimizer.scheduler import SchedulerDecision

        result = {METRIC: value, "training_iteration": step}
        return bool(self._scheduler.on_trial_result(self._trials[key], result) == SchedulerDecision.CONTINUE)

    def complete(self, key: str, step: int, value: float) -> None:
        self._scheduler.on_trial_complete(self._trials[key], {METRIC: value, "training_iteration": step})


def _domain(parameter: Parameter) -> Any:
    from syne_tune import config_space

    domain = parameter.domain
    if isinstance(domain, FloatRange):
        return (config_space.loguniform if domain.log else config_space.uniform)(domain.low, domain.high)
    values = list(domain.points if isinstance(domain, IntRange) else domain.values)
    is_increasing = all(isinstance(each, int | float) for each in values) and values == sorted(values)
    return config_space.ordinal(values) if is_increasing and len(values) > 2 else config_space.choice(values)
