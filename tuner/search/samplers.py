"""Optuna's samplers, pruners and studies for a space."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection

from search_spaces.configurations import report_every, with_first_rung
from search_spaces.schema import Space
from search_spaces.sections import Hyperband, Median, Objective, SuccessiveHalving
from tuner.search.partial_trials import PartialTrialSampler
from tuner.search.sampling.imported import SamplerSource
from tuner.search.sampling.priors import AroundSampler, centre_for, centres_of
from tuner.search.sampling.untried import TriedPoints, UntriedSampler, is_finite
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import PRUNING

_GP_STARTUP = 5  # random trials before the Gaussian process is asked; on recorded curves better than Optuna's 10


def build_sampler(
    space: Space,
    number: int,
    tried: TriedPoints,
    source: SamplerSource | None = None,
    study: Study | None = None,
    num_known: int | None = None,
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
    """
    seed = (space.search.seed * 1_000_003 + number) % 2**32
    centres = centres_of(space)
    centre = centre_for(space, centres, number - (len(space.first) if num_known is None else num_known))
    if centre is not None:
        sampler: BaseSampler = AroundSampler(centre, seed)
    else:
        sampler = source.sampler(seed, study) if source else _named_sampler(space, seed)
    return UntriedSampler(sampler, tried, seed) if is_finite(space) else sampler


def _named_sampler(space: Space, seed: int) -> BaseSampler:
    is_conditional = any(parameter.when for parameter in space.parameters)
    with warnings.catch_warnings():
        # `group` learns each branch of a conditional space jointly; it, and QMC, are marked experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match space.search.sampler:
            case "tpe":
                return _with_partial_trials(space, TPESampler(seed=seed, group=is_conditional))
            case "gp":
                return _with_partial_trials(
                    space,
                    GPSampler(
                        seed=seed,
                        n_startup_trials=_GP_STARTUP,
                        independent_sampler=RandomSampler(seed=seed),
                        warn_independent_sampling=False,
                    ),
                )
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


def _with_partial_trials(space: Space, sampler: BaseSampler) -> BaseSampler:
    """Return a sampler that learns from partial trials, too; with several objectives, the sampler itself."""
    return PartialTrialSampler(sampler) if len(space.objectives) == 1 else sampler


def _population(num_trials: int) -> int:
    """Return a population that leaves a short search some six generations; 50 is NSGA-II's usual one."""
    return min(max(num_trials // 6, 8), 50)


def build_pruner(space: Space) -> BasePruner:
    """Return the pruner of a space.

    A space gives resources in epochs of compute; Optuna counts reports, which are `report_every` epochs apart.
    """
    chosen = with_first_rung(space).search.pruner.chosen
    if chosen is None:
        return NopPruner()

    def reports(compute: float) -> int:
        return max(1, math.ceil(round(compute / report_every(space), 9)))

    _, settings = chosen
    first = reports(settings.min_resource or 0.0)
    match settings:
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
    return create_study(storage, PRUNING, [space.prune_on], build_pruner(space))
