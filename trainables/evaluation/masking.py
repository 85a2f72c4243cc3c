"""Measures signs of masked gradients, which make a net robust to gradient attacks only (Athalye et al. 2018).

`trainables.evaluation.checks` says which values are signs of masking.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trainables.attacks import gradient as attacks
from trainables.attacks import losses
from trainables.attacks.gradient import input_gradient
from trainables.attacks.losses import LogitsFn, cross_entropy
from trainables.attacks.norms import largest_distance
from trainables.common.seeds import seed_for
from trainables.common.tasks import Norm
from trainables.data.tensors import Split
from trainables.evaluation.checks import apply_checks, as_metrics, largest_rise

IMAGES_AT_ONCE = 500
"""How many images are attacked in one batch, which bounds the memory that an attack needs; fewer of large images."""

PURPOSE = "masking"
"""What the seed of the random points is drawn for."""

_LARGE_STEPS = 20


def check_masking(
    classifier: LogitsFn,
    split: Split,
    epsilon: float,
    accuracies: Mapping[str, float],
    seed: int,
    norm: Norm = "linf",
) -> dict[str, float]:
    """Measure signs of masked gradients on a split and apply all checks whose numbers are known.

    Args:
        classifier: maps images ``(batch, C, H, W)`` to logits; already in evaluation mode.
        split: the images and their labels.
        epsilon: the attacks' radius in pixels of [0, 1].
        accuracies: what was measured before, by metric: clean, FGSM, R+FGSM and PGD accuracy at that radius, and
            anything else that a check reads.
        seed: of the random points.
        norm: of the ball.

    Returns:
        ``gradient_cosine``, ``zero_gradients`` (a share), ``large_epsilon``, ``masking_<check>`` and
        ``masking_failures``.
    """
    rng = torch.Generator(device=split.device).manual_seed(seed_for(seed, PURPOSE))
    return judge(measure_gradients(classifier, split, epsilon, rng, norm), epsilon, split, accuracies, norm)


def measure_gradients(
    classifier: LogitsFn, split: Split, epsilon: float, rng: torch.Generator, norm: Norm = "linf"
) -> torch.Tensor:
    """Measure what `judge` judges, without waiting for the device.

    Args:
        classifier: see `check_masking`, as for split and epsilon.
        split: see `check_masking`.
        epsilon: see `check_masking`.
        rng: of the random points, on the images' device.
        norm: see `check_masking`.

    Returns:
        For each batch the sum of the cosines, the number of images with a zero gradient, and the number that are right
        at the large epsilon: ``(batches, 3)`` as float64.
    """
    rows = []
    for images, labels in split.batches(split.task.images_at_once(IMAGES_AT_ONCE)):
        cosine, is_zero = gradient_signs(classifier, images, labels, epsilon, rng, norm)
        right = _right_at_large_epsilon(classifier, images, labels, rng, norm)
        rows.append(torch.stack([cosine.sum().double(), is_zero.sum().double(), right.sum().double()]))
    return torch.stack(rows)


def judge(
    values: torch.Tensor, epsilon: float, split: Split, accuracies: Mapping[str, float], norm: Norm = "linf"
) -> dict[str, float]:
    """Return what `check_masking` returns.

    Args:
        values: what `measure_gradients` returned.
        epsilon: see `check_masking`.
        split: the images that were measured.
        accuracies: see `check_masking`.
        norm: see `check_masking`.
    """
    num_images = len(split)
    cosines, zeros, right = (sum(column) for column in zip(*values.tolist(), strict=True))
    measured = {
        "gradient_cosine": cosines / num_images,
        "zero_gradients": zeros / num_images,
        "large_epsilon": right / num_images,
    }
    curve = {0.0: accuracies["clean"], epsilon: accuracies["pgd"]}
    curve[largest_distance(split.task.image_shape, norm)] = measured["large_epsilon"]
    known = {"largest_rise": largest_rise(curve), "chance": split.task.chance, **measured, **accuracies}
    checks = apply_checks(known)
    return {**measured, **as_metrics(checks)}


def gradient_signs(
    classifier: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    rng: torch.Generator,
    norm: Norm = "linf",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare the loss's gradient at each image with the gradient at a random point of its epsilon ball.

    A net that is smooth inside the ball has a cosine near 1, one whose loss is bent around the images alone one near 0.

    Args:
        classifier: maps images to logits.
        images: ``(batch, C, H, W)`` in [0, 1].
        labels: ``(batch,)``.
        epsilon: the ball's radius in pixels of [0, 1].
        rng: of the random points.
        norm: of the ball.

    Returns:
        The cosine of the two gradients, and whether one of them is zero, both ``(batch,)``.
    """
    at_image, at_random = (
        input_gradient(classifier, points, labels, cross_entropy).flatten(1)
        for points in (images, attacks.uniform_start(images, epsilon, rng, norm=norm))
    )
    is_zero = (at_image == 0).all(1) | (at_random == 0).all(1)
    return torch.cosine_similarity(_scaled(at_image), _scaled(at_random), dim=1), is_zero


def _scaled(gradient: torch.Tensor) -> torch.Tensor:
    """Return the gradients at a size whose square does not underflow, however confident the net is."""
    return gradient / gradient.abs().amax(1, keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)


@torch.no_grad()
def _right_at_large_epsilon(
    classifier: LogitsFn, images: torch.Tensor, labels: torch.Tensor, rng: torch.Generator, norm: Norm
) -> torch.Tensor:
    channels, height, width = images.shape[-3:]
    # Within it any image can be turned into plain grey, so no net can be better than chance.
    epsilon = largest_distance((channels, height, width), norm)
    adversarial = attacks.pgd_survivors(
        classifier, images, labels, epsilon, steps=_LARGE_STEPS, loss=losses.margin, rng=rng, norm=norm
    )
    return losses.is_correct(classifier(adversarial), labels)
