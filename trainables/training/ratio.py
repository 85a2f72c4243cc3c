"""How many turns the generator takes per turn of the classifier: ratio schedules, and the counter that follows one.

A turn is a number of minibatches on which one of the two networks is trained. A cycle is some generator turns and the
classifier turn that ends it. Between two turns the schedule decides whose turn is next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from trainables.config import RatioConfig
from trainables.config.schedules import Schedule, value_at
from trainables.training.loop import LossMean


class RatioSchedule(Protocol):
    """Decides, between two turns, whether the generator takes another one."""

    def generator_continues(self, turns_taken: int, generator_loss: Callable[[], float], progress: float) -> bool:
        """Return True for a generator turn, False for the classifier's.

        Args:
            turns_taken: generator turns since the classifier's last one.
            generator_loss: returns the mean failure probability of the generator's last turn; infinite before its
                first. The number is computed on the device, so a call waits for the device.
            progress: share of the run's compute that is spent, in [0, 1].
        """
        ...


@dataclass(frozen=True)
class Constant:
    """The same number of generator turns in every cycle, or that of a `Schedule` now, rounded."""

    generator_turns: int | Schedule[int]

    def generator_continues(self, turns_taken: int, generator_loss: Callable[[], float], progress: float) -> bool:
        """See `RatioSchedule`."""
        return turns_taken < math.floor(value_at(self.generator_turns, progress) + 0.5)


@dataclass(frozen=True)
class Stepped:
    """Numbers of generator turns that follow one another, each for an equal share of the run."""

    steps: tuple[int, ...]

    def generator_continues(self, turns_taken: int, generator_loss: Callable[[], float], progress: float) -> bool:
        """See `RatioSchedule`."""
        stage = min(int(progress * len(self.steps)), len(self.steps) - 1)
        return turns_taken < self.steps[stage]


@dataclass(frozen=True)
class Adaptive:
    """Generator turns, at least one, until the generator's loss is below a target or a maximum is reached."""

    target_generator_loss: float
    max_generator_turns: int

    def generator_continues(self, turns_taken: int, generator_loss: Callable[[], float], progress: float) -> bool:
        """See `RatioSchedule`."""
        if turns_taken >= self.max_generator_turns:
            return False
        return turns_taken == 0 or generator_loss() >= self.target_generator_loss


def build_ratio(config: RatioConfig) -> RatioSchedule:
    """Return the ratio schedule that a configuration describes."""
    match config.kind:
        case "constant":
            return Constant(config.generator_turns)
        case "stepped":
            return Stepped(config.steps)
        case "adaptive":
            return Adaptive(config.target_generator_loss, config.max_generator_turns)


class TurnCounter:
    """Counts minibatches into turns and cycles, and says which network is trained on the next one.

    Attributes:
        cycles: how many cycles have ended.
        generator_turns: how many turns of the generator have ended.
    """

    _STATE = ("_generator_is_on", "_batches_left", "_turns_in_cycle", "cycles", "generator_turns")

    def __init__(self, ratio: RatioSchedule, batches_per_turn: int) -> None:
        self._ratio = ratio
        self._batches_per_turn = batches_per_turn
        self._loss = LossMean()
        self._generator_is_on = False
        self._batches_left = 0
        self._turns_in_cycle = 0
        self._last_turn: LossMean | float = math.inf
        self.cycles = 0
        self.generator_turns = 0

    @property
    def batches_left(self) -> int:
        """How many minibatches are left in the present turn."""
        return self._batches_left

    def _last_loss(self) -> float:
        """Return the mean failure probability of the generator's last turn with an image that it perturbs."""
        mean = self._last_turn.mean() if isinstance(self._last_turn, LossMean) else self._last_turn
        return math.inf if mean is None else mean

    def losses_to_choose(self) -> list[LossMean]:
        """Return the loss that the schedule may read at the next call of `generator_is_next`."""
        is_read = self._batches_left == 0 and self._turns_in_cycle > 0 and isinstance(self._ratio, Adaptive)
        return [self._last_turn] if is_read and isinstance(self._last_turn, LossMean) else []

    def generator_is_next(self, progress: float) -> bool:
        """Return whether the next minibatch trains the generator; between two turns this asks the schedule.

        Args:
            progress: share of the run's compute that is spent, in [0, 1].
        """
        if self._batches_left == 0:
            self._generator_is_on = self._ratio.generator_continues(self._turns_in_cycle, self._last_loss, progress)
            self._batches_left = self._batches_per_turn
        return self._generator_is_on

    def count_minibatch(self, generator_loss: torch.Tensor | None) -> None:
        """Count a minibatch of the present turn.

        Args:
            generator_loss: the failure probability that the generator's update measured, a scalar; None for a minibatch
                of the classifier, and for one with no image that the generator perturbs.
        """
        if generator_loss is not None:
            self._loss.add(generator_loss)
        self._batches_left -= 1
        if self._batches_left > 0:
            return
        if self._generator_is_on:
            if not self._loss.is_empty:
                self._last_turn, self._loss = self._loss, LossMean()
            self._turns_in_cycle += 1
            self.generator_turns += 1
        else:
            self._turns_in_cycle = 0
            self.cycles += 1

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint; see `restore`."""
        counts = {name: getattr(self, name) for name in self._STATE}
        return {**counts, "_last_loss": self._last_loss(), "_loss": self._loss.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._last_turn = state["_last_loss"]
        self._loss.restore(state["_loss"])
        for name in self._STATE:
            setattr(self, name, state[name])
