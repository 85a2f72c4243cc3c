"""How well a generator fools a classifier, and whether it can still learn: counts, and rates computed from them."""

from __future__ import annotations

import math

import torch
from torch import nn

from trainables.common.seeds import seed_for
from trainables.data.tensors import Split
from trainables.evaluation.accuracy import evaluating
from trainables.evaluation.masking import IMAGES_AT_ONCE
from trainables.evaluation.metrics import PRE_ACTIVATION, SATURATION
from trainables.networks.classifiers import NUM_CLASSES
from trainables.training.generator import Adversary

SATURATED_BEYOND = 3.0
_SATURATION_IMAGES = 100


def success_counts(
    classifier: nn.Module, adversary: Adversary, split: Split, bound: float, seed: int = 0
) -> torch.Tensor:
    """Return how many images of each true label (row) are predicted as each label (column) under the generator.

    The result depends on the arguments alone. An image with a logit that is not finite counts as wrong, as one of the
    next label.

    Args:
        classifier: run in evaluation mode and left in its own.
        adversary: perturbs the images.
        split: the images and their labels.
        bound: the largest perturbation, in pixels of [0, 1].
        seed: of the generator's starts and noise.

    Returns:
        Counts ``(10, 10)`` as int64.
    """
    device = split.images.device
    rng = torch.Generator(device=device).manual_seed(seed_for(seed, "evaluation", "generator"))
    counts = torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.int64, device=device)
    with evaluating(classifier), torch.no_grad():
        for images, labels in split.batches(IMAGES_AT_ONCE):
            logits = classifier(adversary.perturb(classifier, images, labels, bound, rng))
            is_finite = logits.isfinite().all(-1)
            predicted = torch.where(is_finite, logits.argmax(-1), (labels + 1) % NUM_CLASSES)
            counts.index_put_((labels, predicted), torch.ones_like(labels), accumulate=True)
    return counts


def success_matrix(
    classifier: nn.Module, adversary: Adversary, split: Split, bound: float, seed: int = 0
) -> torch.Tensor:
    """Return `success_counts` as shares of each row ``(10, 10)``.

    Rows sum to 1, or to 0 where the split has no image of that label.
    """
    counts = success_counts(classifier, adversary, split, bound, seed)
    return counts / counts.sum(-1, keepdim=True).clamp_min(1)


def success_rates(counts: torch.Tensor, source: int | None, target: int | None) -> dict[str, float]:
    """Return metrics in [0, 1] computed from `success_counts`.

    Args:
        counts: the table.
        source: the true label that the generator's goal perturbs; None for all.
        target: the label that the goal produces; None for an untargeted goal.

    Returns:
        ``watch/generator``, the classifier's accuracy under the generator. With a target also
        ``watch/generator_success``: the share predicted as the target among the images of the source or, without one,
        of every label but the target; it is left out if there are none.
    """
    rates = {"watch/generator": float(counts.diagonal().sum() / counts.sum())}
    if target is None:
        return rates
    sources = [source] if source is not None else [label for label in range(len(counts)) if label != target]
    num_images = int(counts[sources].sum())
    if num_images:
        rates["watch/generator_success"] = float(counts[sources, target].sum()) / num_images
    return rates


def saturation(
    classifier: nn.Module, adversary: Adversary, split: Split, bound: float, seed: int = 0
) -> dict[str, float]:
    """Return how much of a generator's output is in the flat parts of its tanh.

    The result depends on the arguments alone; see `success_counts` for them.

    Returns:
        ``generator/saturation``, the share of the last recursion's outputs that are beyond 3 before the tanh, where its
        slope is below 1 % of its greatest one; ``generator/pre_activation``, their mean size there. Both are left out
        where the generator's goal perturbs none of the images, the second also where it is not finite.
    """
    images, labels = split.batch(torch.arange(min(len(split), _SATURATION_IMAGES), device=split.images.device))
    rng = torch.Generator(device=split.images.device).manual_seed(seed_for(seed, "evaluation", "saturation"))
    with evaluating(classifier):
        sizes = adversary.pre_activations(classifier, images, labels, bound, rng).abs()
    if not len(sizes):
        return {}
    mean = float(sizes.mean())
    share = 1.0 - float((sizes <= SATURATED_BEYOND).float().mean())  # what is not a number is saturated
    return {SATURATION: share} | ({PRE_ACTIVATION: mean} if math.isfinite(mean) else {})
