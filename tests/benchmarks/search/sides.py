"""What is compared: real searchers, each of which chooses from the pool of a table's untried settings.

A sampler draws freely from the space; the trial gets the untried settings nearest to the draw, and the sampler is told
those, so that it learns from what was trained. It is so for all sides.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Protocol

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from tests.benchmarks.search.curve_model import CurveSampler, Fitted
from tests.benchmarks.search.syne_side import SEARCHERS, SyneSide, is_installed
from tests.benchmarks.search.tables import CurveTable, Pool, Settings
from tuner.search.distributions import distribution, suggest
from tuner.search.samplers import build_sampler
from tuner.search.sampling.partial_trials import PartialTrialSampler
from tuner.search.sampling.untried import TriedPoints

METRIC = "value"
FACTOR = 3
RUNGS = {"1/50": 1 / 50, "1/25": 1 / 25, "1/8": 1 / 8, "3/8": 3 / 8, "1/2": 1 / 2}
"""First rungs as shares of a trial: those of a carefully set ASHA, and of ours beside its default."""
PLAIN = "Tune rung "
SYNE = "Syne Tune "
CURVES = "curves rung 1/2"
NUM_LISTED = 2
LISTED = f"{NUM_LISTED} listed: "
"""Begins the name of a side that first tries settings of the best quarter."""


class Searcher(Protocol):
    """Chooses rows of a table, and stops trials early."""

    def next(self) -> tuple[str, int]:
        """Return a new trial's key and its row."""
        ...

    def report(self, key: str, step: int, value: float) -> bool:
        """Take in a report; return whether the trial goes on."""
        ...

    def complete(self, key: str, step: int, value: float) -> None:
        """Take in the last report of a trial that was trained to its end."""
        ...


class PoolSampler(BaseSampler):
    """Wraps a sampler: a trial gets the settings of the pool nearest to what it draws.

    Args:
        pool: the settings.
        sampler: that draws.
    """

    def __init__(self, pool: Pool, sampler: BaseSampler) -> None:
        self._pool = pool
        self._sampler = sampler
        varying = (parameter for parameter in pool.table.space.parameters if parameter.varies)
        self._domains = {parameter.name: distribution(parameter.domain) for parameter in varying}
        self._inferred: dict[str, BaseDistribution] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._inferred = self._sampler.infer_relative_search_space(study, trial)
        return self._domains

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn = self._sampler.sample_relative(study, trial, self._inferred)
        for name, domain in self._domains.items():
            if name not in drawn:
                drawn[name] = self._sampler.sample_independent(study, trial, name, domain)
        return self._pool.take(drawn)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} was drawn before")

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)


class OptunaSide:
    """An Optuna study in memory with a sampler for each trial and a pruner.

    Args:
        table: to search.
        make_sampler: makes the sampler of a trial from its number.
        pruner: stops trials.
        listed: settings that are tried first.
    """

    def __init__(
        self,
        table: CurveTable,
        make_sampler: Callable[[int], BaseSampler],
        pruner: BasePruner,
        listed: Sequence[Settings] = (),
    ) -> None:
        direction = "maximize" if table.mode == "max" else "minimize"
        self._pool = Pool(table)
        self._make_sampler = make_sampler
        self.study = optuna.create_study(direction=direction, pruner=pruner)
        for settings in listed:
            self.study.enqueue_trial(self._pool.take(settings))
        self._trials: dict[str, optuna.Trial] = {}

    def next(self) -> tuple[str, int]:
        number = len(self._trials)
        self.study.sampler = PoolSampler(self._pool, self._make_sampler(number))
        trial = self.study.ask()
        space = self._pool.table.space
        space.settings(partial(suggest, trial))
        self._trials[str(number)] = trial
        return str(number), self._pool.row_of(trial.params)

    def report(self, key: str, step: int, value: float) -> bool:
        trial = self._trials[key]
        trial.report(value, step)
        if not trial.should_prune():
            return True
        self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return False

    def complete(self, key: str, step: int, value: float) -> None:
        self.study.tell(self._trials[key], value)


@dataclass
class _RayTrial:
    trial_id: str


class TuneSide:
    """`OptunaSearch` and `ASHAScheduler` as Tune drives them.

    Args:
        table: to search.
        seed: of the sampler.
        listed: settings that are tried first.
        asha: arguments of the scheduler.
    """

    def __init__(self, table: CurveTable, seed: int, listed: Sequence[Settings] = (), **asha: int) -> None:
        self._pool = Pool(table)
        space = table.space
        self._search = OptunaSearch(
            lambda trial: space.settings(partial(suggest, trial)) and None,
            METRIC,
            table.mode,
            points_to_evaluate=[self._pool.take(settings) for settings in listed] or None,
            sampler=PoolSampler(self._pool, TPESampler(seed=seed)),  # its default
        )
        self._scheduler = ASHAScheduler(metric=METRIC, mode=table.mode, max_t=table.num_reports, **asha)
        self._trials: dict[str, _RayTrial] = {}

    def next(self) -> tuple[str, int]:
        key = f"{len(self._trials):05d}"
        self._search.suggest(key)
        self._trials[key] = _RayTrial(key)
        self._scheduler.on_trial_add(None, self._trials[key])
        return key, self._pool.row_of(self._search._ot_trials[key].params)

    def report(self, key: str, step: int, value: float) -> bool:
        result = {"training_iteration": step, METRIC: value}
        self._search.on_trial_result(key, result)
        if self._scheduler.on_trial_result(None, self._trials[key], result) == TrialScheduler.CONTINUE:
            return True
        self._search.on_trial_complete(key, result)
        return False

    def complete(self, key: str, step: int, value: float) -> None:
        result = {"training_iteration": step, METRIC: value}
        self._search.on_trial_result(key, result)
        self._scheduler.on_trial_complete(None, self._trials[key], result)
        self._search.on_trial_complete(key, result)


Make = Callable[[CurveTable, int], Searcher]


def _random(table: CurveTable, seed: int) -> Searcher:
    sampler = RandomSampler(seed=seed)
    return OptunaSide(table, lambda number: sampler, NopPruner())


def _tune(table: CurveTable, seed: int, share: float | None = None, num_listed: int = 0) -> Searcher:
    np.random.seed(seed)
    if share is None:
        return TuneSide(table, seed)
    grace_period = max(round(share * table.num_reports), 1)
    listed = _listed(table, seed, num_listed)
    return TuneSide(table, seed, listed, grace_period=grace_period, reduction_factor=FACTOR)


def _listed(table: CurveTable, seed: int, number: int) -> list[Settings]:
    """Return so many settings of a table's best quarter: what somebody may know who has tuned something like it."""
    best_first = np.argsort(-table.ends, kind="stable")[: len(table.ends) // 4].tolist()
    return [table.settings[row] for row in Random(seed).sample(best_first, number)]


def _hyperband(table: CurveTable, seed: int) -> Searcher:
    sampler = TPESampler(seed=seed)
    pruner = HyperbandPruner(min_resource=1, max_resource=table.num_reports, reduction_factor=FACTOR)
    return OptunaSide(table, lambda number: sampler, pruner)


def _ours(
    table: CurveTable, seed: int, startup: int | None = None, num_listed: int = 0, share: float | None = None
) -> Searcher:
    search = table.space.search.model_copy(update={"sampler": "tpe", "seed": seed})
    listed = _listed(table, seed, num_listed)
    space = table.space.model_copy(update={"search": search, "first": tuple(listed)})
    tried = TriedPoints(space)

    def make(number: int) -> BaseSampler:
        if startup is None:
            return build_sampler(space, number, tried, study=side.study)
        drawn = TPESampler(seed=(seed * 1_000_003 + number) % 2**32, n_startup_trials=startup)
        return PartialTrialSampler(drawn)

    rung = table.rung if share is None else max(round(share * table.num_reports), 1)
    side = OptunaSide(table, make, SuccessiveHalvingPruner(min_resource=rung, reduction_factor=FACTOR), listed)
    return side


def _curves(table: CurveTable, seed: int) -> Searcher:
    torch.set_num_threads(1)
    varying = (parameter for parameter in table.space.parameters if parameter.varies)
    domains = {parameter.name: distribution(parameter.domain) for parameter in varying}
    fitted = Fitted()

    def make(number: int) -> BaseSampler:
        return CurveSampler(domains, table.num_reports, (seed * 1_000_003 + number) % 2**32, fitted)

    half = math.ceil(table.num_reports / 2)
    return OptunaSide(table, make, SuccessiveHalvingPruner(min_resource=half, reduction_factor=FACTOR))


def _syne(table: CurveTable, seed: int, searcher: str) -> Searcher:
    return SyneSide(table, seed, searcher)


SIDES: dict[str, Make] = {
    "random": _random,
    "Tune defaults": _tune,
    **{f"{PLAIN}{name}": partial(_tune, share=share) for name, share in RUNGS.items()},
    "Hyperband": _hyperband,
    **{f"{SYNE}{name}": partial(_syne, searcher=searcher) for name, searcher in SEARCHERS.items()},
    "ours": _ours,
    CURVES: _curves,
    "ours 5 startup": partial(_ours, startup=5),
    "ours 10 startup": partial(_ours, startup=10),
    f"{LISTED}ours": partial(_ours, num_listed=NUM_LISTED),
    **{f"ours rung {name}": partial(_ours, share=share) for name, share in RUNGS.items()},
    **{
        f"{LISTED}ours rung {name}": partial(_ours, share=share, num_listed=NUM_LISTED) for name, share in RUNGS.items()
    },
    **{f"{LISTED}{PLAIN}{name}": partial(_tune, share=share, num_listed=NUM_LISTED) for name, share in RUNGS.items()},
}
"""What is compared, by what it is called."""


def usual_sides() -> list[str]:
    """Return what is compared by default: no variants of ours, no sides with listed settings, no missing packages."""
    left_out = ("ours ", LISTED, CURVES)
    return [side for side in SIDES if not side.startswith(left_out) and not is_missing(side)]


def is_missing(side: str) -> bool:
    """Return whether a side needs a package that is not installed."""
    return side.startswith(SYNE) and not is_installed()


def make_searcher(side: str, table: CurveTable, seed: int) -> Searcher:
    """Return a searcher of a table that says nothing while it searches."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SIDES[side](table, seed)
