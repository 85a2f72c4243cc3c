"""Optuna's samplers, pruners and studies for a space."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection

from search_spaces.configurations import report_every, with_first_rung
from search_spaces.schema import Space
from search_spaces.sections import Hyperband, Median, Objective, SuccessiveHalving
from tuner.search.pareto_pruner import ParetoPruner
from tuner.search.sampling.fallback import FallbackSampler
from tuner.search.sampling.imported import SamplerSource
from tuner.search.sampling.partial_trials import PartialTrialSampler
from tuner.search.sampling.priors import AroundSampler, best_of, centre_for, centres_of
from tuner.search.sampling.several_objectives import random_weights
from tuner.search.sampling.untried import TriedPoints, UntriedSampler, is_finite
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import PRUNING

_NUM_STARTUP = {"tpe": 10, "gp": 5}  # random trials before the model is asked; on recorded curves better than others


def build_sampler(
    space: Space,
    number: int,
    tried: TriedPoints,
    source: SamplerSource | None = None,
    study: Study | None = None,
    num_known: int | None = None,
    failed: Callable[[Exception], None] | None = None,
) -> BaseSampler:
    """Return the sampler for one trial of a search.

    Each trial has a sampler of its own: what is drawn depends on the seed, the trial's number and the study alone, so
    that a resumed search draws what an uninterrupted one would have drawn.

    Args:
        space: names the sampler and the seed.
        number: of the trial.
        tried: the points that the search has tried.
        source: makes the samplers of a space that names a class.
        study: of the search; some classes are told what has ended in it.
        num_known: how many of the first trials are not drawn; by default as many as ``first`` has.
        failed: is called with the error of a sampler that raises, whose trial is then drawn at random; None lets it
            raise. The source of a class has its own.
    """
    seed = (space.search.seed * 1_000_003 + number) % 2**32
    centres = centres_of(space)
    num_known = len(space.first) if num_known is None else num_known
    centre = centre_for(space, centres, number - num_known, _best_first(space, study, num_known))
    if centre is not None:
        sampler: BaseSampler = AroundSampler(centre, seed)
    else:
        sampler = source.sampler(seed, study) if source else _named_sampler(space, seed)
        if failed is not None and source is None:
            sampler = FallbackSampler(sampler, seed, failed)
    return UntriedSampler(sampler, tried, seed) if is_finite(space) else sampler


def _best_first(space: Space, study: Study | None, num_known: int) -> int | None:
    """Return which configuration of ``first`` has done best; None with several objectives or if none has ended."""
    if study is None or not space.first or len(space.objectives) > 1:
        return None
    trials = study.get_trials(deepcopy=False)[num_known - len(space.first) : num_known]
    return best_of(trials, study.direction)


def _named_sampler(space: Space, seed: int) -> BaseSampler:
    is_conditional = any(parameter.when for parameter in space.parameters)
    with warnings.catch_warnings():
        # `group` learns each branch of a conditional space jointly; it, and QMC, are marked experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match space.search.sampler:
            case "tpe":
                drawing = TPESampler(seed=seed, group=is_conditional, n_startup_trials=_NUM_STARTUP["tpe"])
                return PartialTrialSampler(drawing, weights=_weights(space, seed))
            case "gp":
                gaussian_process = GPSampler(
                    seed=seed,
                    n_startup_trials=_NUM_STARTUP["gp"],
                    independent_sampler=RandomSampler(seed=seed),
                    warn_independent_sampling=False,
                )
                return PartialTrialSampler(gaussian_process, weights=_weights(space, seed))
            case "nsga2":
                return NSGAIISampler(seed=seed, population_size=_population(space.num_trials))
            case "qmc":
                return QMCSampler(  # one scrambling for all trials: they are points of one sequence
                    scramble=True,
                    seed=space.search.seed,
                    independent_sampler=RandomSampler(seed=seed),
                    warn_asynchronous_seeding=False,
                    warn_independent_sampling=False,
                )
            case _:
                return RandomSampler(seed=seed)


def _weights(space: Space, seed: int) -> list[float] | None:
    """Return the weights of several objectives for one trial, None with one objective."""
    num = len(space.objectives)
    return random_weights(num, seed) if num > 1 else None


def _population(num_trials: int) -> int:
    """Return a population that leaves a short search some six generations; 50 is NSGA-II's usual one."""
    return min(max(num_trials // 6, 8), 50)


def build_pruner(space: Space, search: Study | None = None) -> BasePruner:
    """Return the pruner of a space.

    A space gives resources in epochs of compute; Optuna counts reports, which are `report_every` epochs apart.

    Args:
        space: names the pruner.
        search: the study that holds the reports, if trials are compared by several objectives.
    """
    chosen = with_first_rung(space).search.pruner.chosen
    if chosen is None:
        return NopPruner()

    def reports(compute: float) -> int:
        return max(1, math.ceil(round(compute / report_every(space), 9)))

    _, settings = chosen
    first = reports(settings.min_resource or 0.0)
    match settings:
        case SuccessiveHalving(reduction_factor=factor) if search is not None and space.prunes_by_pareto_rank:
            return ParetoPruner(search, first, factor)
        case Median(startup_trials=num_startup) if search is not None and space.prunes_by_pareto_rank:
            return ParetoPruner(search, first, None, num_startup)
        case SuccessiveHalving(reduction_factor=factor):
            return SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)
        case Hyperband(reduction_factor=factor):
            most = reports(space.budget.compute)
            return HyperbandPruner(min_resource=first, max_resource=most, reduction_factor=factor)
        case Median(startup_trials=num_startup):
            return MedianPruner(n_startup_trials=num_startup, n_warmup_steps=first)


def create_study(
    storage: BaseStorage, name: str, objectives: Sequence[Objective], pruner: BasePruner | None = None
) -> Study:
    """Return the study of a name, created if it does not exist.

    Args:
        storage: that holds it.
        name: of the study.
        objectives: one direction for each.
        pruner: by default none.
    """
    directions = [
        StudyDirection.MAXIMIZE if objective.mode == "max" else StudyDirection.MINIMIZE for objective in objectives
    ]
    return optuna.create_study(
        study_name=name,
        storage=storage,
        directions=directions,
        pruner=pruner or NopPruner(),
        load_if_exists=True,
    )


def create_pruning_study(storage: BaseStorage, sweep: SweepFolder, search: Study) -> Study:
    """Return the study that takes the trials' reports and decides which are pruned.

    That is the search's study if trials are pruned on what stands for its only objective; otherwise a second study,
    whose trials have the same numbers.

    Args:
        storage: that holds both studies.
        sweep: that is searched.
        search: the search's study.
    """
    space = sweep.space
    if space.prunes_on_its_objective:
        search.pruner = build_pruner(space)
        return search
    return create_study(storage, PRUNING, [space.prune_on], build_pruner(space, search))
