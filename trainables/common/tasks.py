"""What a classifier has to do: the shape of its images and its classes. Loads nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

ImageShape = tuple[int, int, int]
"""Channels, height and width."""


Norm = Literal["linf", "l2"]
"""Of a perturbation: the largest change of a pixel, or the length of all changes."""

NORMS: dict[Norm, str] = {"linf": "L-infinity", "l2": "L2"}
"""What each is called in words."""


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
_COLOUR = (3, 32, 32)
CIFAR10 = Task(_COLOUR, ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"))
_OF_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
CIFAR100 = Task(_COLOUR, tuple(_OF_CIFAR100.split()))
CATALOG_TASKS = {
    "mnist": MNIST,
    "fashion_mnist": FASHION_MNIST,
    "digits": MNIST,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
}
"""Of the datasets that this package fetches, by their names."""
