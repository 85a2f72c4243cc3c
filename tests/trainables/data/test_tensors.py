"""Datasets as tensors: shapes, splits, batches."""

import hashlib
import time

import pytest
import torch

from trainables.common.tasks import MNIST
from trainables.config import DatasetConfig
from trainables.data import files as data_files
from trainables.data.tensors import Split, load, load_dataset


@pytest.fixture(scope="module")
def digits():
    return load("digits", validation=200)


def image_set(split):
    return {image.numpy().tobytes() for image in split.images}


class TestDigits:
    def test_sizes_and_types(self, digits):
        assert (len(digits.train), len(digits.validation), len(digits.test)) == (1237, 200, 360)
        for split in (digits.train, digits.validation, digits.test):
            assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
            assert split.images.shape == (len(split), 1, 28, 28)
            assert set(split.labels.tolist()) == set(range(10))
        assert (digits.name, digits.digest) == ("digits", data_files.digest("digits"))

    def test_pixels_span_the_whole_range(self, digits):
        assert (digits.train.images.min(), digits.train.images.max()) == (0, 255)

    def test_no_image_is_in_two_splits(self, digits):
        splits = [image_set(split) for split in (digits.train, digits.validation, digits.test)]
        # scikit-learn's digits have no duplicates, so the sets are as large as the splits.
        assert [len(split) for split in splits] == [1237, 200, 360]
        assert len(set.union(*splits)) == 1797

    def test_the_split_never_changes(self, digits):
        assert digits.validation.labels[:12].tolist() == [9, 4, 6, 3, 0, 3, 3, 3, 4, 4, 4, 0]
        assert hashlib.sha256(digits.test.labels.numpy().tobytes()).hexdigest()[:16] == "786c7f01da8bf83b"

    def test_a_larger_validation_split_contains_the_smaller(self, digits):
        larger = load("digits", validation=300)
        assert torch.equal(larger.validation.head(200).images, digits.validation.images)
        assert torch.equal(larger.test.images, digits.test.images)

    @pytest.mark.parametrize("validation", [-1, 0, 1437, 5000])
    def test_validation_must_leave_images_for_training(self, validation):
        with pytest.raises(ValueError, match=f"below the 1437 training images of digits, got {validation}"):
            load("digits", validation=validation)


class TestSplit:
    def test_batch_is_the_indexed_images_over_255(self, digits):
        index = torch.tensor([5, 0, 5])
        images, labels = digits.train.batch(index)
        assert images.dtype == torch.float32
        assert torch.equal(images, digits.train.images[index].float() / 255)
        assert torch.equal(labels, digits.train.labels[index])

    def test_every_byte_lands_in_the_unit_interval(self):
        split = Split(
            torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1), torch.zeros(256, dtype=torch.int64), MNIST
        )
        images, _ = split.batch(torch.arange(256))
        assert (images.min(), images.max()) == (0, 1)
        assert torch.equal((images * 255).round().to(torch.uint8), split.images)

    def test_head_shares_memory_and_stops_at_the_end(self, digits):
        head = digits.test.head(7)
        assert len(head) == 7
        assert head.images.data_ptr() == digits.test.images.data_ptr()
        assert len(digits.test.head(10_000)) == 360


@pytest.mark.mnist
class TestMnist:
    def test_sizes_and_known_facts(self, mnist):
        assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (55_000, 5_000, 10_000)
        assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
        counts = torch.bincount(mnist.train.labels) + torch.bincount(mnist.validation.labels)
        assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        mean = (mnist.train.images.sum() + mnist.validation.images.sum()).item() / (60_000 * 784 * 255)
        assert mean == pytest.approx(0.1307, abs=5e-5)

    def test_the_split_never_changes(self, mnist):
        assert mnist.validation.labels[:12].tolist() == [2, 7, 1, 2, 0, 7, 1, 3, 6, 1, 7, 7]

    def test_loading_again_is_fast(self, mnist):
        began = time.process_time()
        load("mnist", validation=5000)
        assert time.process_time() - began < 2  # 0.1 s on an idle core, checksums included


def test_the_dataset_of_a_configuration():
    dataset = load_dataset(DatasetConfig(name="digits", validation=137))
    assert (dataset.name, len(dataset.validation)) == ("digits", 137)
