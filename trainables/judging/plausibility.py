"""Whether what was measured of somebody's classifier is likely what it can do; if not, the likely reason in words.

A network that was trained on normalised images and is evaluated on others loses some of its accuracy in silence, which
looks like a network that is less good and more robust or less robust than it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from trainables.data.tensors import Dataset, Split
from trainables.evaluation.accuracy import evaluating, is_right
from trainables.evaluation.masking import IMAGES_AT_ONCE
from trainables.networks.normalization import Normalization, Normalized

_NUM_IMAGES = 2000
_LOWEST_ON_MNIST = 0.9
_FAR = 0.02
"""A difference of accuracies that neither chance nor another order of operations explains on so many images."""

_NUM_SIGMAS = 3


def find_doubts(
    classifier: nn.Module,
    dataset: Dataset,
    split: Split,
    *,
    claimed: float | None = None,
    normalization: Normalization | None = None,
    is_ours: bool = False,
) -> list[str]:
    """Return sentences on why the accuracy of a classifier may not be what it can do; none where nothing is suspicious.

    But for logits that are not finite, they do not depend on the split, whose images may be few.

    Args:
        classifier: that was evaluated.
        dataset: that it was evaluated on.
        split: the images that it was evaluated on.
        claimed: accuracy without an attack that its file states, in [0, 1].
        normalization: that it applies to its images.
        is_ours: whether it was trained by this package, which normalises no images and states validation accuracy.
    """
    with evaluating(classifier), torch.no_grad():
        doubts = list(_doubts_on_logits(classifier, split))
        known = dataset.validation if is_ours else dataset.test
        known = known.head(_NUM_IMAGES)
        doubts += _doubts_on_accuracy(classifier, dataset, known, claimed, normalization, is_ours=is_ours)
    return doubts


def _doubts_on_logits(classifier: nn.Module, split: Split) -> Iterator[str]:
    batches = split.batches(split.task.images_at_once(IMAGES_AT_ONCE))
    if num_bad := sum(int((~classifier(images).isfinite().all(-1)).sum()) for images, _ in batches):
        yield f"{num_bad:,} of {len(split):,} images have a logit that is NaN or infinite; these count as wrong"


def _doubts_on_accuracy(
    classifier: nn.Module,
    dataset: Dataset,
    images: Split,
    claimed: float | None,
    normalization: Normalization | None,
    *,
    is_ours: bool,
) -> Iterator[str]:
    right = _right(classifier, images)
    accuracy = _share(right)
    measured = f"clean accuracy is {100 * accuracy:.1f} % on {len(images):,} images of {dataset.name}"
    better = None if is_ours or normalization else _better_normalization(classifier, dataset, images, right)
    if better:
        other, normalised = better
        options = f"--mean {other.mean:.4g} --std {other.std:.4g}"
        yield f"{measured}, but {100 * normalised:.1f} % on normalised ones, as it was probably trained: add {options}"
    elif claimed is not None and accuracy < claimed - _FAR:
        yield f"{measured}, far below the {100 * claimed:.1f} % that the file states: {_REASONS[is_ours]}"
    elif dataset.name == "mnist" and accuracy < _LOWEST_ON_MNIST:
        yield f"{measured}, where nearly every network has {100 * _LOWEST_ON_MNIST:.0f} % or more: {_REASONS[is_ours]}"


_REASONS = {
    False: "perhaps it was trained on images normalised otherwise (--mean, --std), on another dataset (--dataset), "
    "or not to the end",
    True: "its weights may be those of another run, or of another time in its training",
}


def _better_normalization(
    classifier: nn.Module, dataset: Dataset, images: Split, right: torch.Tensor
) -> tuple[Normalization, float] | None:
    """Return the usual normalisation that makes it clearly more accurate, and how accurate; None if none does."""
    results = [(other, _right(Normalized(classifier, other), images)) for other in _usual_normalizations(dataset)]
    best, normalised = max(results, key=lambda result: _share(result[1]))
    gained, lost = int((normalised & ~right).sum()), int((right & ~normalised).sum())
    is_clear = gained - lost > _NUM_SIGMAS * math.sqrt(gained + lost)  # McNemar's test
    return (best, _share(normalised)) if is_clear else None


def _usual_normalizations(dataset: Dataset) -> Iterator[Normalization]:
    counts = sum(_as_bytes(split).bincount(minlength=256).cpu() for split in (dataset.train, dataset.validation))
    pixels, weights = torch.arange(256).double() / 255, torch.as_tensor(counts).double()
    mean = torch.sum(pixels * weights) / weights.sum()
    variance = torch.sum((pixels - mean) ** 2 * weights) / weights.sum()
    yield Normalization(round(float(mean), 4), round(float(variance.sqrt()), 4))
    yield Normalization(0.5, 0.5)
    yield Normalization(0.0, 1 / 255)


def _as_bytes(split: Split) -> torch.Tensor:
    images = split.images.flatten()
    return images.mul(255).round().to(torch.uint8) if images.is_floating_point() else images


def _right(classifier: nn.Module, images: Split) -> torch.Tensor:
    at_once = images.task.images_at_once(IMAGES_AT_ONCE)
    return torch.cat([is_right(classifier, *batch) for batch in images.batches(at_once)])


def _share(right: torch.Tensor) -> float:
    return int(right.sum()) / len(right)
