"""Samplers for tests, as a user would write them: one that learns in itself, and some that go wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class Plain(RandomSampler):
    """Draws at random, like Optuna's own; has no seed if it is not given one."""

    def __init__(self, *, strength: float = 1.0, seed: int | None = None) -> None:
        if strength < 0:
            raise ValueError(f"strength must not be negative, got {strength}")
        super().__init__(seed)


class Unseeded(RandomSampler):
    """Takes no seed."""

    def __init__(self) -> None:
        super().__init__()


class Failing(RandomSampler):
    """Raises for each trial with one of some numbers, when it is asked for its second parameter."""

    def __init__(self, numbers: Sequence[int] = (), seed: int | None = None) -> None:
        super().__init__(seed)
        self._numbers = numbers
        self._asked = 0

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, domain: BaseDistribution) -> Any:
        """Return a value, or raise."""
        self._asked += 1
        if trial.number in self._numbers and self._asked > 1:
            raise RuntimeError(f"no idea for {name}\nand many more lines")
        return super().sample_independent(study, trial, name, domain)


class Outside(RandomSampler):
    """Draws what no parameter can be."""

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, domain: BaseDistribution) -> Any:
        """Return a value outside of every domain."""
        return 1e9


class Counting(RandomSampler):
    """Keeps what it learns in itself: the numbers of the trials that have ended, in their order."""

    made: ClassVar[list[Counting]] = []

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.ended: list[tuple[int, str]] = []
        self.made.append(self)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Learn."""
        self.ended.append((trial.number, state.name))


class Needy(RandomSampler):
    """Needs a package that nobody has."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Import it."""
        import surely_not_installed

        return dict(surely_not_installed.space)


class Abstract(BaseSampler):
    """Lacks all methods."""


NOT_A_CLASS = RandomSampler()
