"""Images and labels of a user's own, checked: what a source holds, before it is split and kept. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.errors import DataError, printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_SIDE, MIN_SIDE = 224, 4
MAX_CLASSES = 1000
MAX_BYTES = 4 * 2**30
"""Of all pixels of a dataset, and of a file of arrays."""

_CHANNELS = (1, 3)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images and their labels.

    Attributes:
        images: ``(n, C, H, W)``, as uint8 from 0 to 255 or as float32 from 0 to 1.
        labels: ``(n,)`` as int64.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class ImageCollection:
    """What a source holds.

    Attributes:
        classes: the name of each class; labels are positions in them.
        splits: images by what they are for: ``train`` and, if the source has them apart, ``validation`` and ``test``.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, LabelledImages]


def labelled(images: npt.NDArray[Any], labels: npt.NDArray[Any], source: str) -> LabelledImages:
    """Return arrays as images and labels, once they are some.

    Args:
        images: ``(n, H, W)``, ``(n, C, H, W)`` or ``(n, H, W, C)``; bytes from 0 to 255, or numbers from 0 to 1.
        labels: ``(n,)`` or ``(n, 1)``, whole numbers from 0 on.
        source: what to call the images in messages.

    Raises:
        DataError: the shapes do not fit, or a value is out of bounds.
    """
    pixels = _pixels(_with_channels(images, source), source)
    numbers = _numbers(labels, source)
    if len(pixels) != len(numbers):
        raise DataError(f"{source} has {len(pixels):,} images and {len(numbers):,} labels: one label for each image")
    return LabelledImages(pixels, numbers)


def _with_channels(images: npt.NDArray[Any], source: str) -> npt.NDArray[Any]:
    shape = images.shape
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and shape[1] not in _CHANNELS and shape[3] in _CHANNELS:
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in _CHANNELS:
        raise DataError(
            f"{source} has the shape {shape}: images are (n, height, width), (n, channels, height, width) or "
            "(n, height, width, channels) with one channel (grey) or three (red, green, blue)"
        )
    check_sides(images.shape[3], images.shape[2], source)
    return images


def check_sides(width: int, height: int, source: str) -> None:
    """Check that images are neither too small nor too large.

    Raises:
        DataError: a side is out of bounds.
    """
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise DataError(
            f"{source} is {width} x {height} pixels: both sides must be from {MIN_SIDE} to {MAX_SIDE}; resize it"
        )


def _pixels(images: npt.NDArray[Any], source: str) -> npt.NDArray[Any]:
    import numpy as np

    if images.dtype.kind not in "buif" or not images.size:
        raise DataError(f"{source} holds {images.dtype} in the shape {images.shape}: images are numbers")
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"{source} holds values that are NaN or infinite: pixels are from 0 to 1")
        if low < 0 or high > 1:
            how = "divide by 255" if low >= 0 and high <= 255 else "undo their normalisation"
            raise DataError(
                f"{source} holds values from {low:g} to {high:g}: pixels must be from 0 to 1, or bytes; {how}"
            )
        return _as_bytes_if_exact(images.astype(np.float32))
    if images.dtype.kind == "b":
        return images.astype(np.uint8) * np.uint8(255)
    if low < 0 or high > 255:
        raise DataError(f"{source} holds whole numbers from {low:g} to {high:g}: bytes are from 0 to 255")
    if high <= 1:
        raise DataError(
            f"{source} holds whole numbers no larger than {high:g}: bytes are from 0 to 255; write numbers from 0 to 1 "
            "as float32, or multiply by 255"
        )
    return np.ascontiguousarray(images.astype(np.uint8))


def _as_bytes_if_exact(images: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Return images that were bytes before somebody divided them by 255 as bytes again: a quarter of the memory."""
    import numpy as np

    whole = np.round(images * 255).astype(np.uint8)
    is_exact = np.array_equal(whole.astype(np.float32) / np.float32(255), images)
    return whole if is_exact and whole.max() > 1 else np.ascontiguousarray(images)


def _numbers(labels: npt.NDArray[Any], source: str) -> npt.NDArray[np.int64]:
    import numpy as np

    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or flat.dtype.kind not in "uif":
        raise DataError(
            f"the labels of {source} are {labels.dtype} in the shape {labels.shape}: one whole number for each image"
        )
    if flat.dtype.kind == "f" and not (np.isfinite(flat).all() and (flat == np.round(flat)).all()):
        raise DataError(f"the labels of {source} are not whole numbers")
    if flat.size and not (flat.min() >= 0 and flat.max() < MAX_CLASSES):
        raise DataError(
            f"the labels of {source} are from {flat.min():g} to {flat.max():g}: they count from 0, up to "
            f"{MAX_CLASSES - 1}"
        )
    return flat.astype(np.int64)


def checked(classes: tuple[str, ...] | None, splits: Mapping[str, LabelledImages], source: str) -> ImageCollection:
    """Return the collection of splits that fit together.

    Args:
        classes: their names; None if there is one for each label, which is then its name.
        splits: one of them is ``train``.
        source: what to call them in messages.

    Raises:
        DataError: a label is out of range, a class has no image, or splits have images of other shapes.
    """
    train = splits["train"]
    if classes is None:
        classes = tuple(str(label) for label in range(int(train.labels.max()) + 1))
    if len(classes) < 2:
        raise DataError(f"{source} has one class, {classes[0]!r}: a classifier needs two or more")
    for name, split in splits.items():
        if len(split) and int(split.labels.max()) >= len(classes):
            raise DataError(
                f"{source} has a label {int(split.labels.max())} in {name}, and {len(classes)} classes: labels count "
                f"from 0 to {len(classes) - 1}"
            )
        if split.images.shape[1:] != train.images.shape[1:]:
            raise DataError(
                f"{source}: images of {name} have the shape {split.images.shape[1:]}, those of train "
                f"{train.images.shape[1:]}: all must have one"
            )
        present = set(split.labels.tolist())
        if missing := [printable(classes[label]) for label in range(len(classes)) if label not in present]:
            raise DataError(f"{source}: {name} has no image of the class {', '.join(missing[:5])}: add some")
    if sum(split.images.nbytes for split in splits.values()) > MAX_BYTES:
        raise DataError(f"{source} has more than {MAX_BYTES / 2**30:.0f} GiB of pixels: take fewer or smaller images")
    return ImageCollection(classes, splits)
