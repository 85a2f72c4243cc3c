"""Checks for masked gradients, which make a net robust to gradient attacks only (Athalye et al. 2018).

Each check reads measured numbers by name and passes or fails; one whose numbers were not measured is left out. Limits
are shares of the images, so 0.10 is ten percentage points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch

from trainables.attacks import gradient as attacks
from trainables.attacks import losses
from trainables.attacks.gradient import input_gradient
from trainables.attacks.losses import LogitsFn, cross_entropy
from trainables.data.tensors import Split
from trainables.seeds import seed_for

IMAGES_AT_ONCE = 500
"""How many images are attacked in one batch, which bounds the memory that an attack needs."""

LARGE_EPSILON = 0.5
"""At this radius any image can be turned into plain grey, so no net can be better than chance."""

_LARGE_STEPS = 20


@dataclass(frozen=True)
class Check:
    """One check: the names of the numbers that it needs, and a function of these that is True if the check passes."""

    needs: tuple[str, ...]
    passes: Callable[..., bool]


CHECKS: dict[str, Check] = {
    # A random step out of the sharp bend around the image must not open the net to FGSM (Tramer et al. 2018).
    "random_start": Check(("fgsm_accuracy", "rfgsm_accuracy"), lambda fgsm, rfgsm: rfgsm >= fgsm - 0.10),
    # More steps cannot do worse than one.
    "iterative": Check(("fgsm_accuracy", "pgd_accuracy"), lambda fgsm, pgd: pgd <= fgsm + 0.005),
    # FGSM images that are easier than clean ones carry their label (Kurakin et al. 2017).
    "label_leaking": Check(("clean_accuracy", "fgsm_accuracy"), lambda clean, fgsm: fgsm <= clean),
    # A larger ball holds the smaller one; half a point is the noise of random starts.
    "falling_curve": Check(("largest_rise",), lambda rise: rise <= 0.005),
    # A tenth of the images, and the most frequent label is a little more frequent.
    "large_epsilon": Check(("large_epsilon_accuracy",), lambda accuracy: accuracy <= 0.12),
    # An attack that sees no gradients must not find more than those that do. Measured on a PGD-trained net: Square with
    # 5,000 queries finds 1.5 points more, so two are let pass.
    "black_box": Check(("white_box_accuracy", "black_box_accuracy"), lambda white, black: black >= white - 0.02),
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
    failed = {f"masking_{name}": float(not passes) for name, passes in checks.items()}
    return {**failed, "masking_failures": sum(failed.values())}


def largest_rise(accuracy_by_epsilon: Mapping[float, float]) -> float:
    """Return the largest rise of accuracy from one epsilon to the next larger one; 0 if it never rises."""
    curve = [accuracy for _, accuracy in sorted(accuracy_by_epsilon.items())]
    return max((after - before for before, after in pairwise(curve)), default=0.0)


def check_masking(
    classifier: LogitsFn, split: Split, epsilon: float, accuracies: Mapping[str, float], seed: int
) -> dict[str, float]:
    """Measure signs of masked gradients on a split and apply all checks whose numbers are known.

    Args:
        classifier: maps images ``(batch, 1, 28, 28)`` to logits; already in evaluation mode.
        split: the images and their labels.
        epsilon: the attacks' L-infinity radius in pixels of [0, 1].
        accuracies: what was measured before, by metric: clean, FGSM, R+FGSM and PGD accuracy at that radius, and
            anything else that a check reads.
        seed: of the random points.

    Returns:
        ``gradient_cosine``, ``zero_gradients`` (a share), ``large_epsilon_accuracy``, ``masking_<check>`` and
        ``masking_failures``.
    """
    rng = torch.Generator(device=split.images.device).manual_seed(seed_for(seed, "masking"))
    cosines, zeros, right = 0.0, 0, 0
    for images, labels in split.batches(IMAGES_AT_ONCE):
        cosine, is_zero = gradient_signs(classifier, images, labels, epsilon, rng)
        cosines += float(cosine.sum())
        zeros += int(is_zero.sum())
        right += int(_right_at_large_epsilon(classifier, images, labels, rng).sum())
    num_images = len(split)
    measured = {
        "gradient_cosine": cosines / num_images,
        "zero_gradients": zeros / num_images,
        "large_epsilon_accuracy": right / num_images,
    }
    curve = {0.0: accuracies["clean_accuracy"], epsilon: accuracies["pgd_accuracy"]}
    curve[LARGE_EPSILON] = measured["large_epsilon_accuracy"]
    checks = apply_checks({"largest_rise": largest_rise(curve), **measured, **accuracies})
    return {**measured, **as_metrics(checks)}


def gradient_signs(
    classifier: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare the loss's gradient at each image with the gradient at a random point of its epsilon ball.

    A net that is smooth inside the ball has a cosine near 1, one whose loss is bent around the images alone one near 0.

    Args:
        classifier: maps images to logits.
        images: ``(batch, 1, 28, 28)`` in [0, 1].
        labels: ``(batch,)``.
        epsilon: the ball's L-infinity radius in pixels of [0, 1].
        rng: of the random points.

    Returns:
        The cosine of the two gradients, and whether one of them is zero, both ``(batch,)``.
    """
    at_image, at_random = (
        input_gradient(classifier, points, labels, cross_entropy).flatten(1)
        for points in (images, attacks.uniform_start(images, epsilon, rng))
    )
    is_zero = (at_image == 0).all(1) | (at_random == 0).all(1)
    return torch.cosine_similarity(_scaled(at_image), _scaled(at_random), dim=1), is_zero


def _scaled(gradient: torch.Tensor) -> torch.Tensor:
    """Return the gradients at a size whose square does not underflow, however confident the net is."""
    return gradient / gradient.abs().amax(1, keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)


@torch.no_grad()
def _right_at_large_epsilon(
    classifier: LogitsFn, images: torch.Tensor, labels: torch.Tensor, rng: torch.Generator
) -> torch.Tensor:
    adversarial = attacks.pgd_survivors(
        classifier, images, labels, LARGE_EPSILON, steps=_LARGE_STEPS, loss=losses.margin, rng=rng
    )
    return classifier(adversarial).argmax(-1) == labels
