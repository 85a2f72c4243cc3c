"""Datasets as tensors on the device: a batch is selected by index from one tensor of all images; no DataLoader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.nn.functional import interpolate

from trainables.common.tasks import CATALOG_TASKS, Task
from trainables.config import DatasetConfig
from trainables.data import files as data_files
from trainables.data.catalog import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from trainables.data.cifar import LAYOUTS, read_archive
from trainables.data.pack import load_splits
from trainables.data.splitting import SPLIT_SEED

DIGITS_MAX = 16
Placement = Literal["device", "host"]
LARGEST_SHARE = 0.5
"""Of a device's memory, for images; the other half is for weights, optimisers and activations."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of a task, on one device, or on the host for it.

    Attributes:
        images: ``(n, C, H, W)``, as uint8 from 0 to 255 or as float32 from 0 to 1.
        labels: ``(n,)`` as int64.
        task: the shape of the images and the classes.
        used_on: the device to which batches are copied if the images lie on the host; None if they lie on it.
    """

    images: torch.Tensor
    labels: torch.Tensor
    task: Task
    used_on: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """Where batches are, and where they are computed with."""
        return self.images.device if self.used_on is None else self.used_on

    @property
    def index_device(self) -> torch.device:
        """Where the positions lie by which `batch` selects: beside the images."""
        return self.images.device

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images ``(batch, C, H, W)`` as float32 in [0, 1] and the labels ``(batch,)``.

        Args:
            index: positions ``(batch,)``, int64; for images on the host, those on the CPU do not wait for the device.
        """
        index = index.to(self.images.device)
        images, labels = self.images.index_select(0, index), self.labels.index_select(0, index)
        if self.used_on is not None:
            images, labels = (_sent(tensor, self.used_on) for tensor in (images, labels))
        # Division of uint8 selects and converts in two kernels and equals the usual x / 255 to the last bit.
        return images if images.is_floating_point() else images.div(255), labels

    def batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield all images and labels in order, as `batch` returns them."""
        for start in range(0, len(self), batch_size):
            yield self.batch(torch.arange(start, min(start + batch_size, len(self)), device=self.index_device))

    def head(self, num_images: int) -> Split:
        """Return the first ``num_images`` images (all when there are fewer), without a copy."""
        return replace(self, images=self.images[:num_images], labels=self.labels[:num_images])


@dataclass(frozen=True, eq=False)
class Dataset:
    """The three splits of a dataset.

    Attributes:
        name: of the dataset.
        train: images to train on.
        validation: training images that are held out for the search.
        test: test images.
        digest: SHA-256 that identifies the dataset, see `trainables.data.files.digest`.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    digest: str

    @property
    def task(self) -> Task:
        """The shape of the images and the classes."""
        return self.train.task


def load(
    name: str,
    *,
    validation: int,
    folder: Path | None = None,
    shared: str | None = None,
    device: torch.device | str = "cpu",
) -> Dataset:
    """Load a dataset onto a device, with ``validation`` images carved from the training set.

    The training images are put in the order of one fixed permutation (`SPLIT_SEED`); the first ``validation`` of them
    are held out, so a larger validation split contains every smaller one.

    Args:
        name: one of `trainables.data.files.names`.
        validation: how many training images to hold out.
        folder: where the files are; see `trainables.data.files.ensure`.
        shared: folder or URL of all shared datasets; likewise.
        device: where the tensors live.

    Raises:
        ValueError: no dataset has that name, or no image is left for training or for validation.
        DataError: files are missing, damaged or cannot be fetched; see `trainables.data.files.ensure`.
    """
    num_training = data_files.num_training_images(name)
    if not 0 < validation < num_training:
        raise ValueError(
            f"validation must be above 0 and below the {num_training} training images of {name}, got {validation}"
        )
    training, test = _load_digits() if name == "digits" else _load_files(name, folder, shared)
    order = _permutation(num_training)
    return Dataset(
        name=name,
        train=_select(training, order[validation:], device),
        validation=_select(training, order[:validation], device),
        test=replace(test, images=test.images.to(device), labels=test.labels.to(device)),
        digest=data_files.digest(name),
    )


def load_dataset(
    config: DatasetConfig,
    *,
    folder: Path | None = None,
    shared: str | None = None,
    device: torch.device | str = "cpu",
    share: float = 1.0,
) -> Dataset:
    """Load the dataset that a configuration names; errors and arguments are those of `load`, and the share of `place`.

    Images that need too much of the device's memory stay on the host, see `place`.
    """
    if config.content is None:
        loaded = load(config.name, validation=config.validation or 0, folder=folder, shared=shared)
        return place(loaded, device, config.memory, share)
    kept = data_files.ensure(config.name, folder, shared=shared, own=config)
    splits = {
        name: Split(torch.from_numpy(split.images), torch.from_numpy(split.labels), config.task)
        for name, split in load_splits(kept).items()
    }
    return place(Dataset(name=config.name, digest=config.content.sha256, **splits), device, config.memory, share)


def placements(num_bytes: Mapping[str, int], memory: int | None, wanted: str = "auto") -> dict[str, Placement]:
    """Return where the images of each split lie.

    The largest splits are put on the host, until those that are left take no more than `LARGEST_SHARE` of the memory.

    Args:
        num_bytes: of the images of each split.
        memory: of the device, or of a run's share of it, in bytes; None for a processor, which has that of the host.
        wanted: ``device`` or ``host`` for all of them, ``auto`` to decide by the sizes.
    """
    if wanted == "host":
        return dict.fromkeys(num_bytes, "host")
    found: dict[str, Placement] = dict.fromkeys(num_bytes, "device")
    if wanted == "device" or memory is None:
        return found
    left = sum(num_bytes.values())
    for name in sorted(num_bytes, key=lambda name: (-num_bytes[name], name)):
        if left <= LARGEST_SHARE * memory:
            break
        found[name] = "host"
        left -= num_bytes[name]
    return found


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the host on a device, through pinned memory; the host does not wait until it is there."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def place(dataset: Dataset, device: torch.device | str, memory: str = "auto", share: float = 1.0) -> Dataset:
    """Return a dataset of the host with its images where a run needs them.

    Args:
        dataset: whose tensors are on the CPU.
        device: that computes.
        memory: ``device``, ``host`` or ``auto``, see `placements`.
        share: of the device's memory that the run has.
    """
    device = torch.device(device)
    splits = {name: getattr(dataset, name) for name in ("train", "validation", "test")}
    sizes = {name: split.images.numel() * split.images.element_size() for name, split in splits.items()}
    there = int(share * torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None
    where = placements(sizes, there, memory)
    return replace(
        dataset,
        **{
            name: replace(split, used_on=device)
            if where[name] == "host"
            else replace(split, images=split.images.to(device), labels=split.labels.to(device))
            for name, split in splits.items()
        },
    )


def _permutation(num_images: int) -> torch.Tensor:
    # RandomState, unlike torch's and numpy's newer generators, promises the same stream in every release.
    return torch.from_numpy(np.random.RandomState(SPLIT_SEED).permutation(num_images))


def _select(split: Split, index: torch.Tensor, device: torch.device | str) -> Split:
    images, labels = split.images.index_select(0, index), split.labels.index_select(0, index)
    return replace(split, images=images.to(device), labels=labels.to(device))


def _load_files(name: str, folder: Path | None, shared: str | None) -> tuple[Split, Split]:
    place = data_files.ensure(name, folder, shared=shared)
    if name not in LAYOUTS:
        return _load_idx(name, place)
    training, test = (
        Split(torch.from_numpy(split.images), torch.from_numpy(split.labels), CATALOG_TASKS[name])
        for split in read_archive(place / LAYOUTS[name].archive, name)
    )
    return training, test


def _load_idx(name: str, folder: Path) -> tuple[Split, Split]:
    def split(images: str, labels: str) -> Split:
        pixels = torch.from_numpy(data_files.read_idx(folder / images))
        return Split(
            pixels.unsqueeze(1), torch.from_numpy(data_files.read_idx(folder / labels)).long(), CATALOG_TASKS[name]
        )

    return split(TRAIN_IMAGES, TRAIN_LABELS), split(TEST_IMAGES, TEST_LABELS)


def _load_digits() -> tuple[Split, Split]:
    """Scale 8x8 images of values 0 to 16 to 28x28 bytes; the last 360 of a fixed permutation are the test set."""
    small, labels = data_files.read_digits()
    brightness = torch.from_numpy(small).unsqueeze(1).float().div(DIGITS_MAX)
    task = CATALOG_TASKS["digits"]
    pixels = interpolate(brightness, size=task.image_shape[1:], mode="bilinear").mul(255).round().to(torch.uint8)
    everything = Split(pixels, torch.from_numpy(labels).long(), task)
    order = _permutation(len(everything))
    num_train = data_files.DIGITS_NUM_TRAIN
    return _select(everything, order[:num_train], "cpu"), _select(everything, order[num_train:], "cpu")
