"""Optuna's distributions for the parameters of a space, and suggesting their values."""

from __future__ import annotations

from functools import partial
from typing import Any

from optuna import create_study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import Trial

from search_spaces.configurations import configuration_for
from search_spaces.parameters import Domain, FloatRange, IntRange, Parameter
from search_spaces.schema import Space


def suggest(trial: Trial, parameter: Parameter) -> Any:
    """Return the value that a trial's sampler suggests for a parameter."""
    match parameter.domain:
        case FloatRange(low, high, log, step):
            return trial.suggest_float(parameter.name, low, high, log=log, step=step)
        case IntRange(low, high, log, step):
            return trial.suggest_int(parameter.name, low, high, log=log, step=step or 1)
        case domain:
            return trial.suggest_categorical(parameter.name, domain.values)


def drawn_configurations(space: Space, number: int = 1) -> list[dict[str, Any]]:
    """Return complete settings of some trials that are drawn at random, the same at every call."""
    study = create_study(sampler=RandomSampler(seed=0))
    return [configuration_for(space, space.settings(partial(suggest, study.ask())), 0) for _ in range(number)]


def distribution(domain: Domain) -> BaseDistribution:
    """Return Optuna's distribution for a parameter's domain."""
    match domain:
        case FloatRange(low, high, log, step):
            return FloatDistribution(low, high, log=log, step=step)
        case IntRange(low, high, log, step):
            return IntDistribution(low, high, log=log, step=step or 1)
        case _:
            return CategoricalDistribution(domain.values)
