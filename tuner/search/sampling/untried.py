"""A sampler that repeats a point of a finite space only when every other point of it has been tried.

Optuna's samplers draw from a small space with replacement, so that a short search tries a part of it several times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from random import Random
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search_spaces.grid import combinations
from search_spaces.parameters import Fixed, FloatRange, IntRange, Parameter
from search_spaces.schema import Space
from tuner.search.distributions import distribution
from tuner.storage.optuna_internals import every_trial, fixed_parameters

NUM_REDRAWS, NUM_RANDOM_DRAWS = 2, 30
"""How often a point that has been tried is drawn anew: first by the sampler, then at random."""
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

    A point that the wrapped sampler repeats is drawn anew, by it and then at random; after that every point of the
    space is looked at, until one has not been tried.

    Args:
        sampler: that proposes values.
        tried: the points that the study has tried.
        seed: of the random draws.
    """

    def __init__(self, sampler: BaseSampler, tried: TriedPoints, seed: int) -> None:
        self._sampler = sampler
        self._tried = tried
        self._random = RandomSampler(seed=seed)
        self._order = Random(seed)  # noqa: S311 - the same order every time
        self._inferred: dict[str, BaseDistribution] = {}

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
        first: dict[str, Any] | None = None
        for point in self._draws(study, trial, search_space, known):
            first = point if first is None else first
            if _point(point) not in tried:
                return point
        return first or {}

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

    def _draws(
        self, study: Study, trial: FrozenTrial, domains: Mapping[str, BaseDistribution], known: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yield points: the wrapped sampler's, random ones, and then every one of the space."""
        for _ in range(1 + NUM_REDRAWS):
            drawn = self._sampler.sample_relative(study, trial, self._inferred)
            yield self._walk({**drawn, **known}, self._sampler, study, trial, domains)
        for _ in range(NUM_RANDOM_DRAWS):
            yield self._walk(known, self._random, study, trial, domains)

        def values_of(parameter: Parameter) -> Iterable[Any]:
            if parameter.name in known:
                return (known[parameter.name],)
            return self._values(parameter, study, trial, domains[parameter.name])

        yield from combinations(self._tried.parameters, values_of)

    def _walk(
        self,
        known: Mapping[str, Any],
        sampler: BaseSampler,
        study: Study,
        trial: FrozenTrial,
        domains: Mapping[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Return the point with known values; a sampler chooses those that are missing."""

        def value_of(parameter: Parameter) -> tuple[Any, ...]:
            name = parameter.name
            value = known[name] if name in known else sampler.sample_independent(study, trial, name, domains[name])
            return (value,)

        return next(combinations(self._tried.parameters, value_of))

    def _values(
        self, parameter: Parameter, study: Study, trial: FrozenTrial, domain: BaseDistribution
    ) -> Iterable[Any]:
        """Return all values of a parameter, beginning with any of them; of a range of real numbers, a random one."""
        what = parameter.domain
        values = what.points if isinstance(what, FloatRange | IntRange) else what.values
        if values is None:
            return (self._random.sample_independent(study, trial, parameter.name, domain),)
        begin = self._order.randrange(what.num_points if isinstance(what, IntRange) else len(values))
        return chain(values[begin:], values[:begin])


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
