"""What one number at one epsilon does not tell of a classifier's robustness."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from trainables.attacks.gradient import pgd_survivors
from trainables.data.tensors import Split
from trainables.evaluation.accuracy import evaluating, is_right
from trainables.seeds import seed_for

EPSILONS = tuple(round(0.05 * step, 2) for step in range(21))
"""Where accuracy by epsilon is measured, up to the first that leaves nothing."""

STEPS = 40


def accuracy_by_epsilon(
    classifier: nn.Module, split: Split, epsilons: Sequence[float], steps: int, seed: int
) -> dict[float, float]:
    """Return accuracy in [0, 1] under PGD on cross-entropy at each epsilon, up to the first that leaves nothing.

    Every epsilon is attacked on its own, so that a curve that rises shows attacks that fail (Carlini et al. 2019). What
    is wrong without an attack counts as wrong at every epsilon.

    Args:
        classifier: judged in evaluation mode and left in its own.
        split: all of its images are attacked at once.
        epsilons: L-infinity radii in pixels of [0, 1], rising; 0 stands for no attack.
        steps: of PGD from a random start, `attacks.REACH` epsilons together.
        seed: of the random starts.
    """
    device = split.images.device
    accuracies: dict[float, float] = {}
    with evaluating(classifier):
        everything = torch.arange(len(split), device=device)
        right = everything[is_right(classifier, *split.batch(everything))]
        images, labels = split.batch(right)
        for epsilon in epsilons:
            rng = torch.Generator(device).manual_seed(seed_for(seed, "accuracy by epsilon", str(epsilon)))
            found = pgd_survivors(classifier, images, labels, epsilon, steps=steps if epsilon else 0, rng=rng)
            accuracies[epsilon] = int(is_right(classifier, found, labels).sum()) / len(split)
            if accuracies[epsilon] == 0:
                break
    return accuracies
