"""Ratio schedules: whose turn is it? Pure functions of what the loop has counted, so a restored loop answers the same.

Source: Chu and Collins: constant 2:1 and 4:1 (Tables 1, 2), stepped 6 - 8 - 12 (Table 3), and adjusted so that the
generator's loss stays under 0.6 (Table 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from trainables.config import RatioConfig
from trainables.schedules import Schedule, value_at


class RatioSchedule(Protocol):
    """Decides, between two turns, whether the generator takes another one."""

    def generator_continues(self, turns_taken: int, generator_loss: float, progress: float) -> bool:
        """Return True for a generator turn, False for the classifier's.

        Args:
            turns_taken: generator turns since the classifier's last one.
            generator_loss: mean loss of the generator's last turn; infinite before its first.
            progress: share of the run's compute that is spent, in [0, 1].
        """
        ...


@dataclass(frozen=True)
class Constant:
    """The same number of generator turns in every cycle, or that of a schedule, rounded."""

    generator_turns: int | Schedule[int]

    def generator_continues(self, turns_taken: int, generator_loss: float, progress: float) -> bool:
        """See `RatioSchedule`."""
        return turns_taken < math.floor(value_at(self.generator_turns, progress) + 0.5)


@dataclass(frozen=True)
class Stepped:
    """Turn counts that follow one another, each for an equal share of the run."""

    steps: tuple[int, ...]

    def generator_continues(self, turns_taken: int, generator_loss: float, progress: float) -> bool:
        """See `RatioSchedule`."""
        stage = min(int(progress * len(self.steps)), len(self.steps) - 1)
        return turns_taken < self.steps[stage]


@dataclass(frozen=True)
class Adaptive:
    """Generator turns until its loss is under the target; the cap ends the turns of a generator that has lost."""

    target_generator_loss: float
    max_generator_turns: int

    def generator_continues(self, turns_taken: int, generator_loss: float, progress: float) -> bool:
        """See `RatioSchedule`."""
        if turns_taken >= self.max_generator_turns:
            return False
        return turns_taken == 0 or generator_loss >= self.target_generator_loss


def build_ratio(config: RatioConfig) -> RatioSchedule:
    """Return the schedule that a configuration describes."""
    match config.kind:
        case "constant":
            return Constant(config.generator_turns)
        case "stepped":
            return Stepped(config.steps)
        case "adaptive":
            return Adaptive(config.target_generator_loss, config.max_generator_turns)
