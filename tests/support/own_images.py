"""A folder of generated images in three classes, a network in a file, and a space that names both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("circles", "squares", "stripes")
NETWORK = """\
from torch import nn


def build(image_shape, num_classes):
    channels, height, width = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(256, num_classes),
    )
"""
SPACE = """\
name: shapes
trainable: fgsm_random_start
dataset: {name: ./images}
evaluation: {epsilon: 8/255}
budget: {trials: 2, compute: 3}
search: {sampler: random, pruner: none}
baselines: [standard]
parameters:
  classifier:
    architecture: {choice: [net.py:build, net.py:build]}
    learning_rate: {float: [2.0e-3, 1.0e-2], log: true}
  batch_size: 16
"""


def write_images(folder: Path, num_images: int = 300) -> None:
    """Write PNGs of 24 x 20 pixels in colour, as many of each class."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:20, :24]
    for number in range(num_images):
        name = CLASSES[number % len(CLASSES)]
        across, down = rng.integers(-3, 4, 2)
        y, x = rows - 10 - down, columns - 12 - across
        is_inside = {
            "circles": y**2 + x**2 < 40,
            "squares": (abs(y) < 6) & (abs(x) < 6),
            "stripes": (x % 6) < 3,
        }[name]
        pixels = rng.integers(0, 70, (20, 24, 3))
        pixels[is_inside] = rng.integers(170, 256, 3)
        target = folder / name / f"{number:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(target)


def write_project(folder: Path, num_images: int = 300) -> Path:
    """Write images, network and space into a folder; return the path of the space."""
    write_images(folder / "images", num_images)
    (folder / "net.py").write_text(NETWORK)
    (folder / "shapes.yaml").write_text(SPACE.replace("{choice: [net.py:build, net.py:build]}", "net.py:build"))
    return folder / "shapes.yaml"
