"""Accuracy by epsilon: the curve of a classifier's robustness, of which a metric is one point."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import torch
from torch import nn

from trainables.attacks.gradient import fgsm, pgd_survivors
from trainables.common.seeds import seed_for
from trainables.common.tasks import Norm
from trainables.data.tensors import Split
from trainables.evaluation.accuracy import evaluating, is_right
from trainables.evaluation.measured import Measured, MeasureRunner
from trainables.evaluation.metrics import fgsm_at

EPSILONS = tuple(round(0.05 * step, 2) for step in range(21))
"""The L-infinity radii at which the curve is measured, in pixels of [0, 1]."""


def epsilons_in(norm: Norm, epsilon: float) -> tuple[float, ...]:
    """Return the radii at which the curve is measured: in L2 as many, up to five times that of the evaluation."""
    return EPSILONS if norm == "linf" else tuple(round(epsilon * step / 4, 6) for step in range(len(EPSILONS)))


STEPS = 40
"""Steps of PGD at each epsilon."""


def accuracy_by_epsilon(
    classifier: nn.Module,
    split: Split,
    epsilons: Sequence[float],
    steps: int,
    seed: int,
    norm: Norm = "linf",
    workers: int = 1,
) -> dict[float, float]:
    """Measure accuracy in [0, 1] under PGD on cross-entropy at each epsilon, up to the first where it is 0.

    Each epsilon is attacked independently of the others, so a curve that rises shows attacks that fail (Carlini et al.
    2019). An image that is misclassified without an attack counts as misclassified at every epsilon.

    Args:
        classifier: maps images ``(batch, C, H, W)`` to logits; run in evaluation mode and left in its own.
        split: the images, all attacked in one batch if they are small.
        epsilons: radii in pixels of [0, 1], rising; 0 means no attack.
        steps: of PGD from a random start, together `gradient.REACH` epsilons long.
        seed: of the random starts.
        norm: of the balls.
        workers: number of threads, each of which attacks at one epsilon with a copy of the classifier; one if it cannot
            be copied.
    """
    device, workers = split.device, workers if workers > 1 and _can_be_copied(classifier) else 1
    accuracies: dict[float, float] = {}
    with evaluating(classifier):
        everything = torch.arange(len(split), device=device)
        right = everything[is_right(classifier, *split.batch(everything))]
        images, labels = split.batch(right)
        at_once = split.task.images_at_once(len(split))
        is_over = threading.Event()

        def count_right(epsilon: float) -> int:
            own = classifier if workers == 1 else copy.deepcopy(classifier)

            def attacked(images: torch.Tensor) -> torch.Tensor:
                if is_over.is_set():  # Ctrl-C waits for one pass, not for a whole attack
                    raise CancelledError
                logits: torch.Tensor = own(images)
                return logits

            rng = torch.Generator(device).manual_seed(seed_for(seed, "accuracy by epsilon", str(epsilon)))
            num_right = 0
            for some, their_labels in zip(images.split(at_once), labels.split(at_once), strict=True):
                steps_now = steps if epsilon else 0
                adversarial = pgd_survivors(attacked, some, their_labels, epsilon, steps=steps_now, rng=rng, norm=norm)
                num_right += int(is_right(attacked, adversarial, their_labels).sum())
            return num_right

        pool = ThreadPoolExecutor(workers)
        try:
            counts = map(count_right, epsilons) if workers == 1 else pool.map(count_right, epsilons)
            for epsilon, num_right in zip(epsilons, counts, strict=False):
                accuracies[epsilon] = num_right / len(split)
                if num_right == 0:
                    break
        finally:
            is_over.set()
            pool.shutdown(cancel_futures=True)
    return accuracies


def _can_be_copied(classifier: nn.Module) -> bool:
    try:
        copy.deepcopy(classifier)
    except Exception:  # a module may keep anything, such as a lock or a tensor with its history
        return False
    return True


def measure_fgsm(
    classifier: nn.Module, split: Split, epsilons: Sequence[float], runner: MeasureRunner, norm: Norm = "linf"
) -> Measured:
    """Measure accuracy in [0, 1] under FGSM at each epsilon, without waiting for the device.

    Args:
        classifier: maps images ``(batch, C, H, W)`` to logits; run in evaluation mode and left in its own.
        split: the images.
        epsilons: radii in pixels of [0, 1].
        runner: how functions of the classifier run.
        norm: of the balls.

    Returns:
        Metrics that are named by `metrics.fgsm_at`.
    """

    def attack(networks: Sequence[nn.Module], _rng: torch.Generator, *radii: float) -> torch.Tensor:
        counts = [
            is_right(networks[0], fgsm(networks[0], images, labels, radius, norm=norm), labels).sum()
            for images, labels in split.batches(split.task.images_at_once(len(split)))
            for radius in radii
        ]
        return torch.stack(counts).reshape(-1, len(radii)).sum(0)

    with evaluating(classifier):
        kind = ("fgsm by epsilon", len(split), len(epsilons), norm)
        counts = runner(kind, 0, [classifier], attack, *epsilons)

    def metrics(values: Sequence[torch.Tensor]) -> dict[str, float]:
        right = values[0].tolist()
        return {fgsm_at(epsilon): count / len(split) for epsilon, count in zip(epsilons, right, strict=True)}

    return Measured((counts,), metrics)
