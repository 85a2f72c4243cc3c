"""Tests that every dataset passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import numpy as np
import pytest

from trainables.config.plugins.registries import DATASETS
from trainables.data.pack import call_for_images, pack

LoadImages: TypeAlias = Callable[[], object]
"""Returns arrays by their names, see `trainables.data.array_files`."""


class DatasetTests:
    """Tests of a dataset; a class made from this names it.

    Attributes:
        dataset: the name of a dataset of an installed package, or a function that returns arrays by their names.
    """

    dataset: ClassVar[str | Callable[[], object]]

    @pytest.fixture
    def load_images(self) -> LoadImages:
        """Return the function that returns the images."""
        dataset = type(self).dataset
        function: LoadImages = DATASETS[dataset] if isinstance(dataset, str) else dataset
        return function

    def test_images_are_in_range_and_every_class_has_some(self, load_images: LoadImages) -> None:
        """It passes what a launch looks at, in every split: pixels, one shape, labels, classes."""
        collection = call_for_images(load_images, "the dataset")
        _, about = pack(collection, "the dataset", None, None)
        for split in collection.splits.values():
            largest = 255 if split.images.dtype == np.uint8 else 1.0
            assert 0 <= split.images.min() <= split.images.max() <= largest
            assert split.images.shape[1:] == about.image_shape
            assert set(split.labels.tolist()) == set(range(len(about.classes)))
        assert min(about.train, about.validation, about.test) >= len(about.classes)

    def test_images_and_splits_are_the_same_every_time(self, load_images: LoadImages) -> None:
        """Loaded twice they have one SHA-256, by which a sweep knows them on every machine."""
        first, again = (pack(call_for_images(load_images, "the dataset"), "the dataset", None, None) for _ in range(2))
        assert first[1] == again[1]
        assert first[0] == again[0]
