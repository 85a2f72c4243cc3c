"""Statistics of few values: confidence intervals, paired differences, corrected p-values, and tests for racing.

All values are of one metric, accuracies in [0, 1] as a rule. ``resolution`` is the finest step in which they were
measured, one image's share: a spread below it cannot be known, so none is assumed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean, stdev
from typing import Literal

import numpy as np

LEVEL = 0.95
# Measured on normal and exponential samples: a BCa interval of 3 values covers 66-77 % instead of 95 %, of 6 values
# 81-89 %, of 10 values 86-92 %; Student's t 88-96 %, 87-96 % and 90-97 %.
MIN_BOOTSTRAP = 10
_RESAMPLES = 9999


@dataclass(frozen=True)
class Difference:
    """A paired difference: its mean, its 95 % intervals, and the two-sided p-value of no difference.

    `interval` is the one to go by: the bootstrap's from `MIN_BOOTSTRAP` pairs on, Student's t below. Intervals are None
    for a single pair, of which nothing more can be said.
    """

    mean: float
    student: tuple[float, float] | None
    bootstrap: tuple[float, float] | None
    p_value: float
    num_pairs: int

    @property
    def method(self) -> Literal["student", "bootstrap"]:
        """Which interval `interval` is."""
        return "bootstrap" if self.num_pairs >= MIN_BOOTSTRAP else "student"

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval to go by."""
        return self.bootstrap if self.method == "bootstrap" else self.student


def paired(ours: Sequence[float], theirs: Sequence[float], resolution: float = 0.0) -> Difference:
    """Return the mean of ours minus theirs, pair by pair, with its intervals and p-value.

    Args:
        ours: one value for each seed.
        theirs: of the same seeds, in the same order.
        resolution: see the module.
    """
    differences = [own - other for own, other in zip(ours, theirs, strict=True)]
    return Difference(
        mean=mean(differences),
        student=student_interval(differences, resolution),
        bootstrap=bootstrap_interval(differences),
        p_value=_p_value(differences, resolution),
        num_pairs=len(differences),
    )


def student_interval(values: Sequence[float], resolution: float = 0.0) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean (Student 1908), None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * _error(values, resolution)
    return mean(values) - half, mean(values) + half


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the BCa bootstrap interval of the mean (Efron 1987), None for fewer than two values.

    Of few values it is too short: see `MIN_BOOTSTRAP`. The same values give the same interval.
    """
    if len(values) < 2:
        return None
    if min(values) == max(values):  # BCa is not defined there
        return values[0], values[0]
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is seen below
        bounds = stats.bootstrap(
            (np.asarray(values),), np.mean, n_resamples=_RESAMPLES, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
    low, high = float(bounds.low), float(bounds.high)
    return (min(values), max(values)) if math.isnan(low) or math.isnan(high) else (low, high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in their order: all claims below 0.05 hold at once (Holm 1979)."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def interval(accuracy: float, num_images: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy measured on that many images (Wilson 1927)."""
    right, quantile = round(accuracy * num_images), NormalDist().inv_cdf((1 + LEVEL) / 2)
    wrong, square = num_images - right, quantile**2
    middle = (right + square / 2) / (num_images + square)
    half = quantile / (num_images + square) * math.sqrt(right * wrong / num_images + square / 4)
    return (middle - half if right else 0.0), (middle + half if wrong else 1.0)


def is_within_noise(better: float, worse: float, num_images: int) -> bool:
    """Return whether an accuracy's lead over another could come from which images they were measured on.

    It could if the 95 % interval of the difference holds zero (Newcombe 1998, from two Wilson intervals). On the same
    images the true interval is shorter as a rule; on the other hand, that training again gives another net is left out.
    """
    (low, _), (_, high) = interval(better, num_images), interval(worse, num_images)
    return better - worse <= math.hypot(better - low, high - worse)


def is_behind(leads: Sequence[float], alpha: float, *, resolution: float = 0.0, noise: float = 0.0) -> bool:
    """Return whether a leader is better than another by more than the chance of seeds and of images explains.

    For the seeds a one-sided paired t-test at ``alpha`` (racing: Maron and Moore 1997, Birattari et al. 2002), and for
    the images, which all seeds share, a lead above what ``noise`` explains at ``alpha``.

    Args:
        leads: lead of the leader over the other, one for each seed.
        alpha: probability of a wrong answer for two that are equal.
        resolution: see the module.
        noise: standard error of a lead that comes from the choice of images, see `image_noise`.
    """
    if len(leads) < 2 or mean(leads) <= NormalDist().inv_cdf(1 - alpha) * noise:
        return False
    return _p_value(leads, resolution) / 2 < alpha


def image_noise(accuracy: float, other: float, num_images: int) -> float:
    """Return the standard error of the difference of two accuracies on that many images each (binomial)."""
    return math.sqrt((accuracy * (1 - accuracy) + other * (1 - other)) / num_images)


def share_of_alpha(round_: int, num_others: int, total: float = 0.1) -> float:
    """Return the ``alpha`` of one comparison in a round of a race, so that the best one is lost in at most ``total``.

    Rounds from the second on spend 1/2, 1/6, 1/12, ... of it, which sum to 1 however long it gets; a round's share is
    split among all whom the best one could lose to (Bonferroni).
    """
    return total / (round_ * (round_ - 1) * num_others)


def _error(values: Sequence[float], resolution: float) -> float:
    return max(stdev(values), resolution) / math.sqrt(len(values))


def _p_value(differences: Sequence[float], resolution: float) -> float:
    """Return the two-sided p-value of the paired t-test; 1 for a single pair, which shows nothing."""
    if len(differences) < 2 or mean(differences) == 0:
        return 1.0
    from scipy.special import stdtr

    error = _error(differences, resolution)
    return 2 * float(stdtr(len(differences) - 1, -abs(mean(differences)) / error)) if error else 0.0
