"""Splits images into those to train, to validate and to test on, of every class its share. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.data.collections import ImageCollection, LabelledImages
from trainables.errors import DataError, printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SPLIT_SEED = 2017
"""Seed of every split. One constant, so that all trials of all sweeps hold out the same images."""

SHARE = 0.15
"""Of the images that are split off, where no number is given."""


def split_collection(
    collection: ImageCollection, source: str, validation: int | None, test: int | None
) -> dict[str, LabelledImages]:
    """Return three splits: those that a collection has, and the others drawn from its training images.

    Which images are drawn depends on their order and number alone. Each split is shuffled, so that the first images of
    it are of all classes.

    Args:
        collection: the images.
        source: what to call them in messages.
        validation: how many images to validate on; by default as many as the collection has, or 15 %.
        test: how many to test on, likewise.

    Raises:
        DataError: a number contradicts the collection, or leaves a class without an image.
    """
    import numpy as np

    rng = np.random.RandomState(SPLIT_SEED)  # promises the same stream in every release of NumPy
    splits = dict(collection.splits)
    wanted = {"test": test, "validation": validation}
    for name, number in wanted.items():
        if name in splits and number not in (None, len(splits[name])):
            raise DataError(f"{source} has {len(splits[name]):,} images in {name}: leave dataset.{name} out")
    drawn = {name: number for name, number in wanted.items() if name not in splits}
    default = _default(len(splits["train"]), len(collection.classes))
    sizes = {name: default if number is None else number for name, number in drawn.items()}
    for name, number in sizes.items():
        splits["train"], splits[name] = _split_off(
            splits["train"], number, rng, collection.classes, f"{source}: {name}"
        )
    return {name: _selected(split, rng.permutation(len(split))) for name, split in splits.items()}


def _default(num_images: int, num_classes: int) -> int:
    return max(num_classes, round(SHARE * num_images))


def _split_off(
    images: LabelledImages, number: int, rng: np.random.RandomState, classes: tuple[str, ...], what: str
) -> tuple[LabelledImages, LabelledImages]:
    """Return images without some of each class, and these."""
    import numpy as np

    counts = np.bincount(images.labels, minlength=len(classes))
    if not len(classes) <= number <= len(images) - len(classes):
        raise DataError(
            f"{what} takes {number:,} of {len(images):,} images: from {len(classes)}, one of each class, to "
            f"{len(images) - len(classes):,}, which leave one of each to train on"
        )
    if small := [printable(name) for name, count in zip(classes, counts, strict=True) if count < 2]:
        raise DataError(f"{what} needs an image of {small[0]}, and one to train on: add images of it")
    quotas = _quotas(counts, number)
    is_drawn = np.zeros(len(images), dtype=bool)
    for label, quota in enumerate(quotas):
        is_drawn[rng.permutation(np.flatnonzero(images.labels == label))[:quota]] = True
    return _selected(images, np.flatnonzero(~is_drawn)), _selected(images, np.flatnonzero(is_drawn))


def _quotas(counts: npt.NDArray[np.int64], number: int) -> list[int]:
    """Return how many images of each class are drawn: in proportion, one at least, and all but one at most."""
    exact = [number * int(count) / int(counts.sum()) for count in counts]
    quotas = [min(max(int(share), 1), int(count) - 1) for share, count in zip(exact, counts, strict=True)]
    while (left := number - sum(quotas)) != 0:
        step = 1 if left > 0 else -1
        possible = [
            label
            for label, quota in enumerate(quotas)
            if (step > 0 and quota < counts[label] - 1) or (step < 0 and quota > 1)
        ]
        best = max(possible, key=lambda label: (step * (exact[label] - quotas[label]), -label))
        quotas[best] += step
    return quotas


def _selected(images: LabelledImages, index: npt.NDArray[np.int64]) -> LabelledImages:
    return LabelledImages(images.images[index], images.labels[index])
