"""Draws around what is known beforehand: the configurations of ``first`` and the values of ``prior``.

A search that only runs `first` follows its random startup trials, whatever `first` has measured. With several
configurations of ``first``, draws lie around the one that has done best so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.parameters import after_steps
from search_spaces.schema import Space
from tuner.search.sampling.visible_trials import is_feasible

SPREAD = 0.15
"""Standard deviation of the draws around a number, as a share of its range (of its logarithm, with ``log``)."""
STAY = 0.8
"""The chance that a choice is that of the prior; else it is any of its values."""

Centre = Mapping[str, Any]


def centres_of(space: Space) -> list[Centre]:
    """Return the points that early trials are drawn around, as values by name: each configuration of ``first``.

    What one leaves out has its ``prior``, if there is one; without ``first`` all priors together are the only point.
    """
    priors = {parameter.name: parameter.prior[0] for parameter in space.parameters if parameter.prior}
    return [{**priors, **values} for values in space.first_parameters()] or ([priors] if priors else [])


def best_of(trials: Sequence[FrozenTrial], direction: StudyDirection) -> int | None:
    """Return the place of the trial that has done best among some; None if none has ended with a value or report.

    One that ran to its end and keeps all constraints is better than one that breaks some, and that than a stopped one.

    Args:
        trials: of a search with one objective.
        direction: of the search.
    """
    sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
    ended = {place: _merit(trial, sign) for place, trial in enumerate(trials)}
    judged = {place: merit for place, merit in ended.items() if merit is not None}
    return max(judged, key=judged.__getitem__, default=None)


def _merit(trial: FrozenTrial, sign: float) -> tuple[float, ...] | None:
    """Return how well a trial has done, to be compared; None if it has not ended, or has failed."""
    if trial.state == TrialState.COMPLETE:
        return (2.0 if is_feasible(trial) else 1.0, math.inf, sign * (trial.value or 0.0))
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        step, report = max(trial.intermediate_values.items())
        return (0.0, step, sign * report)
    return None


def centre_for(space: Space, centres: Sequence[Centre], draw: int, best: int | None = None) -> Centre | None:
    """Return the point that a draw of a search lies around; None if it lies around none.

    Args:
        space: that is searched.
        centres: see `centres_of`.
        draw: number of the draw: from 0, without the trials that are not drawn.
        best: place of the best point; None if that is not known, and each has its turn.
    """
    num_around = space.search.prior_draws
    if not centres or space.search.sampler not in PRIOR_SAMPLERS or space.num_trials < num_around:
        return None  # a shorter search has no draws to spare
    if draw % 2 or not 0 <= draw < num_around:
        return None
    return centres[draw // 2 % len(centres) if best is None else best]


PRIOR_SAMPLERS = ("tpe", "gp")


class AroundSampler(BaseSampler):
    """Draws values around a point, and at random what the point leaves out.

    Args:
        centre: values by name.
        seed: of the draws.
    """

    def __init__(self, centre: Centre, seed: int) -> None:
        self._centre = centre
        self._dice = Random(seed)  # noqa: S311 - the same draws every time
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: each parameter is drawn by itself; arguments are those of ``BaseSampler``."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing; arguments are those of ``BaseSampler``."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value for one parameter; arguments are those of ``BaseSampler``."""
        if param_name not in self._centre:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        centre = self._centre[param_name]
        if isinstance(param_distribution, CategoricalDistribution):
            return self._choice(centre, param_distribution.choices)
        assert isinstance(param_distribution, FloatDistribution | IntDistribution)  # noqa: S101 - there are no others
        return self._number(float(centre), param_distribution)

    def _choice(self, centre: Any, choices: Sequence[Any]) -> Any:
        if self._dice.random() < STAY:
            return centre
        if not _is_ordered(choices):
            return self._dice.choice(choices)
        index = choices.index(centre) + self._dice.choice((-1, 1))
        return choices[min(max(index, 0), len(choices) - 1)]

    def _number(self, centre: float, domain: FloatDistribution | IntDistribution) -> float:
        def scaled(value: float) -> float:
            return math.log(value) if domain.log else value

        low, high = scaled(domain.low), scaled(domain.high)
        drawn = self._dice.gauss(scaled(centre), SPREAD * (high - low))
        drawn = 2 * low - drawn if drawn < low else 2 * high - drawn if drawn > high else drawn
        drawn = min(max(drawn, low), high)  # reflected at an end, and never beyond the other one
        value = min(max(math.exp(drawn) if domain.log else drawn, domain.low), domain.high)
        if domain.step is not None:
            value = min(after_steps(domain.low, round((value - domain.low) / domain.step), domain.step), domain.high)
        return round(value) if isinstance(domain, IntDistribution) else value


def _is_ordered(choices: Sequence[Any]) -> bool:
    """Return whether choices are three or more increasing numbers, of which one has neighbours."""
    numbers = [choice for choice in choices if isinstance(choice, int | float) and not isinstance(choice, bool)]
    return len(numbers) == len(choices) >= 3 and all(low < high for low, high in pairwise(numbers))
