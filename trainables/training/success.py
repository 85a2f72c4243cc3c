"""How well a generator fools a classifier, and whether it can still learn: counts, and rates computed from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from trainables.attacks.losses import Epsilon
from trainables.common.seeds import seed_for
from trainables.data.tensors import Split
from trainables.evaluation.accuracy import evaluating
from trainables.evaluation.masking import IMAGES_AT_ONCE
from trainables.evaluation.measured import Measured, MeasureRunner, as_called
from trainables.evaluation.metrics import PRE_ACTIVATION, SATURATION
from trainables.training.generator import Adversary

SATURATED_BEYOND = 3.0
_SATURATION_IMAGES = 100
_COUNTS, _SATURATION = ("evaluation", "generator"), ("evaluation", "saturation")  # what seeds are drawn for


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
        Counts ``(classes, classes)`` as int64.
    """
    rng = torch.Generator(device=split.device).manual_seed(seed_for(seed, *_COUNTS))
    with evaluating(classifier):
        return _count(classifier, adversary, split, bound, rng)


@torch.no_grad()
def _count(
    classifier: nn.Module, adversary: Adversary, split: Split, bound: Epsilon, rng: torch.Generator
) -> torch.Tensor:
    num_classes = split.task.num_classes
    cells = torch.zeros(num_classes**2, dtype=torch.int64, device=split.device)
    for images, labels in split.batches(split.task.images_at_once(IMAGES_AT_ONCE)):
        logits = classifier(adversary.perturb(classifier, images, labels, bound, rng))
        is_finite = logits.isfinite().all(-1)
        predicted = torch.where(is_finite, logits.argmax(-1), (labels + 1) % num_classes)
        cells.scatter_add_(0, labels * num_classes + predicted, torch.ones_like(labels))
    return cells.view(num_classes, num_classes)


def measure_generator(
    classifier: nn.Module,
    adversary: Adversary,
    split: Split,
    bound: float,
    seed: int,
    *,
    runner: MeasureRunner,
) -> Measured:
    """Measure `success_rates` and `saturation` without waiting for the device; see there for the arguments.

    Args:
        classifier: see `success_counts`, as for the next four.
        adversary: see `success_counts`.
        split: see `success_counts`.
        bound: see `success_counts`.
        seed: see `success_counts`.
        runner: how functions of classifier and generator run.
    """
    settings = adversary.settings
    if settings.goal == "source_to_target":  # how many images that is, only the device knows
        runner = as_called(split.device)

    def count(networks: Sequence[nn.Module], rng: torch.Generator, bound: Epsilon) -> torch.Tensor:
        return _count(networks[0], adversary.with_generator(networks[1]), split, bound, rng)

    def saturate(networks: Sequence[nn.Module], rng: torch.Generator, bound: Epsilon) -> torch.Tensor:
        return _saturate(networks[0], adversary.with_generator(networks[1]), split, bound, rng)

    networks, of_what = [classifier, adversary.generator], (len(split), settings.model_dump_json())
    with evaluating(classifier):
        counts = runner(("counts", *of_what), seed_for(seed, *_COUNTS), networks, count, bound)
        saturated = runner(("saturation", *of_what), seed_for(seed, *_SATURATION), networks, saturate, bound)
    return Measured(
        (counts, saturated),
        lambda values: success_rates(values[0], settings.source, settings.target) | _saturation_rates(values[1]),
    )


def success_matrix(
    classifier: nn.Module, adversary: Adversary, split: Split, bound: float, seed: int = 0
) -> torch.Tensor:
    """Return `success_counts` as shares of each row ``(classes, classes)``.

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
    rng = torch.Generator(device=split.device).manual_seed(seed_for(seed, *_SATURATION))
    with evaluating(classifier):
        return _saturation_rates(_saturate(classifier, adversary, split, bound, rng))


def _saturate(
    classifier: nn.Module, adversary: Adversary, split: Split, bound: Epsilon, rng: torch.Generator
) -> torch.Tensor:
    """Return the mean size and the share that is not saturated, or an empty tensor where no image is perturbed."""
    images, labels = split.batch(torch.arange(min(len(split), _SATURATION_IMAGES), device=split.device))
    sizes = adversary.pre_activations(classifier, images, labels, bound, rng).abs()
    if not len(sizes):
        return sizes.new_empty(0)
    return torch.stack([sizes.mean(), (sizes <= SATURATED_BEYOND).float().mean()])


def _saturation_rates(saturated: torch.Tensor) -> dict[str, float]:
    if not len(saturated):
        return {}
    mean, responsive = saturated.tolist()
    share = 1.0 - responsive  # what is not a number is saturated
    return {SATURATION: share} | ({PRE_ACTIVATION: mean} if math.isfinite(mean) else {})
