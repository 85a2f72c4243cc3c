"""A sampler that repeats a point of a finite space only when every other point of it has been tried.

Optuna's samplers draw from a small space with replacement, so that a short search tries a part of it several times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence, Set
from functools import partial
from itertools import chain
from random import Random
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search_spaces.grid import combinations
from search_spaces.parameters import (
    Domain,
    Fixed,
    FloatRange,
    IntRange,
    Parameter,
    after_steps,
    is_number,
    num_steps,
    same,
)
from search_spaces.schema import Space
from tuner.search.distributions import distribution
from tuner.storage.optuna_internals import every_trial, fixed_parameters

NUM_REDRAWS = 2
"""How often the sampler is asked anew for a point that has been tried."""
_MISSING = object()
Point = frozenset[tuple[str, Any]]


class TriedPoints:
    """The points of a space that the trials of one study have, whatever became of the trials.

    Those of finished trials are read once, however many calls.

    Args:
        space: that is searched.
    """

    def __init__(self, space: Space) -> None:
        self.parameters = space.parameters
        self._finished: set[Point] = set()
        self._unfinished: list[int] = []
        self._num_known = 0

    def others(self, trials: Sequence[FrozenTrial], number: int) -> set[Point]:
        """Return the points of all trials but one; trials that run or wait count with what is known of theirs.

        Args:
            trials: of the study, in the order of their numbers.
            number: of the trial that is left out.
        """
        new = range(self._num_known, len(trials))
        self._num_known = len(trials)
        unfinished = [trials[index] for index in chain(self._unfinished, new)]
        self._finished |= {_point(trial.params) for trial in unfinished if trial.state.is_finished()}
        self._unfinished = [index for index in chain(self._unfinished, new) if not trials[index].state.is_finished()]
        open_trials = (trials[index] for index in self._unfinished)
        return self._finished.union(
            _point({**fixed_parameters(trial), **trial.params}) for trial in open_trials if trial.number != number
        )


class UntriedSampler(BaseSampler):
    """Wraps a sampler of a finite space: a point that has been tried is drawn again only if no other one is left.

    The wrapped sampler is asked anew for a point that it repeats. What it repeats again is replaced by the nearest
    point that has not been tried: that to which the fewest steps lead, each from one value of one parameter to the
    next. Numbers are stepped through in their order; any other values are one step apart.

    Args:
        sampler: that proposes values.
        tried: the points that the study has tried.
        seed: decides between points that are equally near, and draws values of parameters that a step brings into use.
    """

    def __init__(self, sampler: BaseSampler, tried: TriedPoints, seed: int) -> None:
        self._sampler = sampler
        self._tried = tried
        self._random = RandomSampler(seed=seed)
        self._order = Random(seed)  # noqa: S311 - the same order every time
        self._inferred: dict[str, BaseDistribution] = {}
        self._condition_names = {name for parameter in tried.parameters for name in parameter.conditions}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all parameters of the space: a whole point is chosen at once.

        Args:
            study: that the trial belongs to.
            trial: for which values are proposed.
        """
        self._inferred = self._sampler.infer_relative_search_space(study, trial)
        return {item.name: distribution(item.domain) for item in self._tried.parameters if item.varies}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a point as values by name.

        Args:
            study: that the trial belongs to.
            trial: for which values are proposed.
            search_space: what `infer_relative_search_space` has returned.
        """
        known = {**fixed_parameters(trial), **trial.params}
        tried = self._tried.others(every_trial(study), trial.number)
        drawn = [self._draw(study, trial, search_space, known)]
        while _point(drawn[-1]) in tried and len(drawn) <= NUM_REDRAWS:
            drawn.append(self._draw(study, trial, search_space, known))
        if _point(drawn[-1]) not in tried:
            return drawn[-1]
        return self._nearest(drawn[0], tried, known, partial(self._walk, self._random, study, trial, search_space))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value for one parameter; arguments are those of ``BaseSampler.sample_independent``."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See ``BaseSampler.before_trial``."""
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """See ``BaseSampler.after_trial``."""
        self._sampler.after_trial(study, trial, state, values)

    def _draw(
        self, study: Study, trial: FrozenTrial, domains: Mapping[str, BaseDistribution], known: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return a point of the wrapped sampler."""
        drawn = self._sampler.sample_relative(study, trial, self._inferred)
        return self._walk(self._sampler, study, trial, domains, {**drawn, **known})

    def _nearest(
        self, drawn: dict[str, Any], tried: Set[Point], known: Container[str], completed: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the nearest point to one that has not been tried, or that one if there is none left.

        Args:
            drawn: the point around which is looked.
            tried: points.
            known: names of the parameters that keep their values.
            completed: returns the point with some values, in which those of other parameters are drawn at random.
        """
        steppable = [item for item in self._tried.parameters if item.varies and item.name not in known]
        seen, queue = {_point(drawn)}, deque([drawn])
        while queue:
            point = queue.popleft()
            steps = [
                (item.name, value)
                for item in steppable
                if item.name in point
                for value in _next_values(item.domain, point[item.name])
            ]
            self._order.shuffle(steps)
            for name, value in steps:
                neighbour = {**point, name: value}
                if name in self._condition_names:
                    neighbour = completed(neighbour)
                if _point(neighbour) not in tried:
                    return neighbour
                if _point(neighbour) not in seen:
                    seen.add(_point(neighbour))
                    queue.append(neighbour)
        return drawn

    def _walk(
        self,
        sampler: BaseSampler,
        study: Study,
        trial: FrozenTrial,
        domains: Mapping[str, BaseDistribution],
        known: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the point with known values; a sampler chooses those that are missing."""

        def value_of(parameter: Parameter) -> tuple[Any, ...]:
            name = parameter.name
            value = known[name] if name in known else sampler.sample_independent(study, trial, name, domains[name])
            return (value,)

        return next(combinations(self._tried.parameters, value_of))


def _next_values(domain: Domain, value: Any) -> Sequence[Any]:
    """Return the values of a parameter that are one step from one of them; a range of real numbers has no steps."""
    if isinstance(domain, FloatRange):
        if domain.step is None:
            return ()
        place = num_steps(domain.low, value, domain.step) or 0
        nearby = [after_steps(domain.low, place + step, domain.step) for step in (-1, 1)]
        return [other for other in nearby if domain.holds(other)]
    if isinstance(domain, IntRange):
        step = domain.step or 1
        return [other for other in (int(value) - step, int(value) + step) if domain.holds(other)]
    if all(map(is_number, domain.values)):
        ordered = sorted(domain.values)
        place = ordered.index(value)
        return [*ordered[max(place - 1, 0) : place], *ordered[place + 1 : place + 2]]
    return [other for other in domain.values if not same(other, value)]


def is_finite(space: Space) -> bool:
    """Return whether a space varies, and has a number of points in which a search could repeat one."""
    varying = [parameter for parameter in space.parameters if not isinstance(parameter.domain, Fixed)]
    always_real = any(
        isinstance(item.domain, FloatRange) and item.domain.points is None and not item.when for item in varying
    )
    return bool(varying) and not always_real


def without_repeats(space: Space) -> list[dict[str, Any]]:
    """Return the configurations that a search tries first; of those that are whole and equal, the first."""
    kept: dict[Point, dict[str, Any]] = {}
    for number, values in enumerate(space.first_parameters()):
        point = _completed(space, values)
        is_whole = _MISSING not in point.values()
        kept.setdefault(_point(point if is_whole else {"": number}), values)
    return list(kept.values())


def _completed(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the point with these values, in which `_MISSING` stands for what is left to be chosen."""

    def value_of(parameter: Parameter) -> tuple[Any, ...]:
        return (values.get(parameter.name, _MISSING),)

    return next(combinations(space.parameters, value_of))


def _point(values: Mapping[str, Any]) -> Point:
    return frozenset(values.items())
