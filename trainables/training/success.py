"""What an adversary achieves: a table of true and predicted labels under its generator, and the rates in it."""

from __future__ import annotations

import torch
from torch import nn

from trainables.data.tensors import Split
from trainables.evaluation.accuracy import evaluating
from trainables.evaluation.masking import IMAGES_AT_ONCE
from trainables.networks.classifiers import NUM_CLASSES
from trainables.seeds import seed_for
from trainables.training.generator import Adversary


def success_counts(
    classifier: nn.Module, adversary: Adversary, split: Split, bound: float, seed: int = 0
) -> torch.Tensor:
    """Return how many images of each true class (row) get each label (column) under the generator: ``(10, 10)``.

    The result depends on both networks, the images, the bound (pixels of [0, 1]) and the seed alone.
    """
    device = split.images.device
    rng = torch.Generator(device=device).manual_seed(seed_for(seed, "evaluation", "generator"))
    counts = torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.int64, device=device)
    with evaluating(classifier), torch.no_grad():
        for images, labels in split.batches(IMAGES_AT_ONCE):
            predicted = classifier(adversary.perturb(classifier, images, labels, bound, rng)).argmax(-1)
            counts.index_put_((labels, predicted), torch.ones_like(labels), accumulate=True)
    return counts


def success_matrix(
    classifier: nn.Module, adversary: Adversary, split: Split, bound: float, seed: int = 0
) -> torch.Tensor:
    """Return the share of images of each true class (row) that get each label (column) under the generator.

    ``(10, 10)``; rows sum to 1, or to 0 where the split has no image of that class. See `success_counts`.
    """
    counts = success_counts(classifier, adversary, split, bound, seed)
    return counts / counts.sum(-1, keepdim=True).clamp_min(1)


def success_rates(counts: torch.Tensor, source: int | None, target: int | None) -> dict[str, float]:
    """Return the rates that a table of `success_counts` holds.

    ``generator_accuracy`` is the classifier's accuracy on all images under the generator. ``generator_success``, for a
    goal with a target, is the share of images that get the target's label, among those of the source's class or, with
    no source, of every class but the target's; it is left out where there are none.
    """
    rates = {"generator_accuracy": float(counts.diagonal().sum() / counts.sum())}
    if target is None:
        return rates
    aimed_at = [source] if source is not None else [label for label in range(len(counts)) if label != target]
    num_images = int(counts[aimed_at].sum())
    if num_images:
        rates["generator_success"] = float(counts[aimed_at, target].sum()) / num_images
    return rates
