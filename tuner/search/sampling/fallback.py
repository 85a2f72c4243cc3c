"""A sampler that goes on at random where another one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.optuna_internals import contains

_T = TypeVar("_T")


class FallbackSampler(BaseSampler):
    """Wraps a sampler: what it does not draw because it raises, or draws outside the space, is drawn at random.

    It serves one trial: after a failure all that is left of it is drawn at random.

    Args:
        sampler: that proposes values.
        seed: of the random draws.
        failed: is called with the error.
    """

    def __init__(self, sampler: BaseSampler, seed: int, failed: Callable[[Exception], None]) -> None:
        self._sampler = sampler
        self._random = RandomSampler(seed=seed)
        self._failed = failed
        self._is_random = False

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are sampled jointly; arguments are those of ``BaseSampler``."""
        return self._attempt(lambda: self._sampler.infer_relative_search_space(study, trial), lambda: {})

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return values for the parameters that are sampled jointly; arguments are those of ``BaseSampler``."""

        def draw() -> dict[str, Any]:
            drawn = dict(self._sampler.sample_relative(study, trial, search_space))
            for name, value in drawn.items():
                _check(name, search_space[name], value)
            return drawn

        return self._attempt(draw, lambda: {})

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value for one parameter; arguments are those of ``BaseSampler``."""

        def draw() -> Any:
            value = self._sampler.sample_independent(study, trial, param_name, param_distribution)
            _check(param_name, param_distribution, value)
            return value

        return self._attempt(
            draw, lambda: self._random.sample_independent(study, trial, param_name, param_distribution)
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See ``BaseSampler.before_trial``."""
        self._attempt(lambda: self._sampler.before_trial(study, trial), lambda: None)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """See ``BaseSampler.after_trial``."""
        self._is_random = False  # whatever became of the draws, it is told how the trial ended
        self._attempt(lambda: self._sampler.after_trial(study, trial, state, values), lambda: None)

    def _attempt(self, act: Callable[[], _T], otherwise: Callable[[], _T]) -> _T:
        if not self._is_random:
            try:
                return act()
            except Exception as error:
                self._is_random = True
                self._failed(error)
        return otherwise()


def _check(name: str, distribution: BaseDistribution, value: Any) -> None:
    if not contains(distribution, value):
        raise ValueError(f"it has drawn {value!r} for {name}, which is {distribution}")
