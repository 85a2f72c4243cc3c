"""What a classifier has to do: the shape of its images and its classes. Loads nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

ImageShape = tuple[int, int, int]
"""Channels, height and width."""


@dataclass(frozen=True)
class Task:
    """The shape of a dataset's images, and its classes.

    Attributes:
        image_shape: channels, height and width of every image.
        classes: the name of each class; a label is a position in them.
        most_frequent: share of the training images that are of the most frequent class: the accuracy of a classifier
            that always answers with it. None where all classes are about as frequent.
    """

    image_shape: ImageShape
    classes: tuple[str, ...]
    most_frequent: float | None = None

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def chance(self) -> float:
        """The accuracy that a classifier has without looking at the images."""
        even = 1 / self.num_classes
        return even if self.most_frequent is None else max(even, self.most_frequent)

    def images_at_once(self, most: int) -> int:
        """Return how many images are attacked at once, so that larger ones need about as much memory.

        Args:
            most: of images up to 64 x 64.
        """
        return max(1, min(most, most * 64 * 64 // math.prod(self.image_shape[1:])))


_GREY = (1, 28, 28)
_DIGITS = tuple("0123456789")
MNIST = Task(_GREY, _DIGITS)
FASHION_MNIST = Task(
    _GREY,
    ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
CATALOG_TASKS = {"mnist": MNIST, "fashion_mnist": FASHION_MNIST, "digits": MNIST}
"""Of the datasets that this package fetches, by their names."""
