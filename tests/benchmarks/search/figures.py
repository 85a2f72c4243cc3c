"""What many searches come to: medians, means, and their ratios to the best-set plain stack, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.search.sides import PLAIN
from tests.benchmarks.search.simulation import Outcome

NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """A ratio with its bootstrap interval of 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f}\n{self.low:.2f}-{self.high:.2f}"


def capped(outcomes: Sequence[Outcome], limit: float) -> np.ndarray:
    """Return the compute that each search needed; one that found nothing counts with the limit."""
    return np.array([min(outcome.needed, limit) for outcome in outcomes])


def share_lost(outcomes: Sequence[Outcome]) -> float:
    """Return the share of searches that found nothing."""
    return sum(math.isinf(outcome.needed) for outcome in outcomes) / len(outcomes)


def best_plain(sides: Mapping[str, Sequence[Outcome]], limit: float) -> str | None:
    """Return the first rung of `OptunaSearch` with ASHA that needs the lowest median compute, then mean, on a table."""
    needed = {side: capped(outcomes, limit) for side, outcomes in sides.items() if side.startswith(PLAIN)}
    return min(needed, key=lambda side: (np.median(needed[side]), needed[side].mean()), default=None)


def ratio_of(kind: str, ours: np.ndarray, theirs: np.ndarray) -> Ratio:
    """Return the ratio of two medians or means; both sides' searches are resampled."""
    return geometric_mean(kind, [(ours, theirs)])


def geometric_mean(kind: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Ratio:
    """Return the geometric mean over tables of the ratio of two medians or means.

    Args:
        kind: ``median`` or ``mean``.
        pairs: of each table, the compute needed by the searches of one side and of the other.
    """
    middle = np.median if kind == "median" else np.mean
    dice = np.random.default_rng(0)

    def log_ratio(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(middle(ours, axis=-1)) - np.log(middle(theirs, axis=-1)))

    def resampled(values: np.ndarray) -> np.ndarray:
        return np.asarray(dice.choice(values, (NUM_RESAMPLES, len(values))))

    value = float(np.mean([log_ratio(*pair) for pair in pairs]))
    draws = np.mean([log_ratio(resampled(ours), resampled(theirs)) for ours, theirs in pairs], axis=0)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Ratio(*(float(np.exp(number)) for number in (value, low, high)))
