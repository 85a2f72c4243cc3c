"""Images in the binary layout of CIFAR: made up, or the sample beside the checkout."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from trainables.data.cifar import LAYOUTS

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "cifar10_sample"
"""Real images, if somebody has put them beside the checkout."""

needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no images in {SAMPLE}")


def write_unpacked(folder: Path, name: str = "cifar10", per_class: int = 3, seed: int = 0) -> Path:
    """Write a folder in the layout of one of the two datasets, with random pixels, and return it."""
    layout, rng = LAYOUTS[name], np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*layout.train, layout.test):
        labels = np.tile(np.arange(10 if name == "cifar10" else 100, dtype=np.uint8), per_class)
        pixels = rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        columns = [labels[:, None] // 5] * (layout.label_bytes - 1) + [labels[:, None], pixels]
        (folder / file).write_bytes(np.concatenate(columns, axis=1).tobytes())
    return folder


def write_archive(folder: Path, name: str = "cifar10", per_class: int = 3) -> Path:
    """Write an archive as the official one is, and return its path."""
    layout = LAYOUTS[name]
    unpacked = write_unpacked(folder / layout.folder, name, per_class)
    with tarfile.open(folder / layout.archive, "w:gz", compresslevel=1) as archive:
        archive.add(unpacked, layout.folder)
    for path in unpacked.iterdir():
        path.unlink()
    unpacked.rmdir()
    return folder / layout.archive
