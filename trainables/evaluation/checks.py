"""The rules by which measured numbers say that gradients are masked (Athalye et al. 2018). No torch here.

Each check reads numbers by name and passes or fails; one whose numbers were not measured is left out. Limits are shares
of the images, so 0.10 is ten percentage points. What is measured, and how, is in `masking`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

MASKING_FAILURES = "masking_failures"
"""The metric that counts failed checks; complete runs have it."""

_PREFIX = "masking_"


@dataclass(frozen=True)
class Check:
    """One check: the names of the numbers that it needs, and a function of these that is True if the check passes."""

    needs: tuple[str, ...]
    passes: Callable[..., bool]


CHECKS: dict[str, Check] = {
    # A random step out of the sharp bend around the image must not open the net to FGSM (Tramer et al. 2018).
    "random_start": Check(("fgsm", "rfgsm"), lambda fgsm, rfgsm: rfgsm >= fgsm - 0.10),
    # More steps cannot do worse than one.
    "iterative": Check(("fgsm", "pgd"), lambda fgsm, pgd: pgd <= fgsm + 0.005),
    # FGSM images that are easier than clean ones carry their label (Kurakin et al. 2017).
    "label_leaking": Check(("clean", "fgsm"), lambda clean, fgsm: fgsm <= clean),
    # A larger ball holds the smaller one; half a point is the noise of random starts.
    "falling_curve": Check(("largest_rise",), lambda rise: rise <= 0.005),
    # Chance is a tenth of the images of MNIST, where the most frequent label is a little more frequent.
    "large_epsilon": Check(("large_epsilon", "chance"), lambda accuracy, chance: accuracy <= 1.2 * chance),
    # An attack that sees no gradients must not find more than those that do. Measured on a PGD-trained net: Square with
    # 5,000 queries finds 1.5 points more, so two are let pass.
    "black_box": Check(("white_box", "black_box"), lambda white, black: black >= white - 0.02),
    "zero_gradients": Check(("zero_gradients",), lambda share: share == 0.0),
    # Measured: standard training 0.7, random start 0.5, FGSM retraining -0.04.
    "gradient_cosine": Check(("gradient_cosine",), lambda cosine: cosine >= 0.2),
}


def apply_checks(measured: Mapping[str, float]) -> dict[str, bool]:
    """Return for each row of `CHECKS` whose numbers are all in ``measured`` whether it passes."""
    return {
        name: bool(check.passes(*(measured[need] for need in check.needs)))
        for name, check in CHECKS.items()
        if all(need in measured for need in check.needs)
    }


def as_metrics(checks: Mapping[str, bool]) -> dict[str, float]:
    """Return check results as metrics: ``masking_<check>`` is 1 where one fails, ``masking_failures`` their sum."""
    failed = {metric_of(name): float(not passes) for name, passes in checks.items()}
    return {**failed, MASKING_FAILURES: sum(failed.values())}


def from_metrics(metrics: Mapping[str, float]) -> dict[str, bool]:
    """Return what `as_metrics` was given: by check whether it passes, of all checks that the metrics have."""
    return {
        name.removeprefix(_PREFIX): not failed
        for name, failed in metrics.items()
        if name.startswith(_PREFIX) and name != MASKING_FAILURES
    }


def metric_of(check: str) -> str:
    """Return the name of the metric that says whether a check failed."""
    return _PREFIX + check


def largest_rise(accuracy_by_epsilon: Mapping[float, float]) -> float:
    """Return the largest rise of accuracy from one epsilon to the next larger one; 0 if it never rises."""
    curve = [accuracy for _, accuracy in sorted(accuracy_by_epsilon.items())]
    return max((after - before for before, after in pairwise(curve)), default=0.0)
