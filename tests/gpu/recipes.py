"""The runs that are measured: one of every recipe, and the first configuration of the search space `gan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from trainables.common.tasks import MNIST
from trainables.config import parse
from trainables.data.tensors import Dataset, Split, load
from trainables.training import registry
from trainables.training.loop import TrainingLoop
from trainables.training.machine.graphs import Updates

BATCH_SIZE = 128

# The first configuration of search_spaces/packaged/gan.yaml at less compute; YAML may not be installed.
GENERATOR: dict[str, Any] = {
    "trainable": "gan",
    "dataset": {"name": "mnist", "validation": 5000},
    "evaluation": {"epsilon": 0.3, "watch_images": 500, "rank_images": 1000},
    "compute": 16.0,
    "classifier": {"architecture": "small_cnn", "learning_rate": 4e-3, "schedule": "cyclic"},
    "generator": {
        "body": "space_to_depth",
        "width": 16,
        "random_start": True,
        "see_label": True,
        "see_perturbation": True,
        "recursions": 2,
        "recursion_step": 0.6,
        "image_gradient": "sign",
        "perturbation_bound": 0.35,
        "learning_rate": 1e-3,
        "loss": "cross_entropy",
        "warmup": 0.3,
    },
    "ratio": {"kind": "constant", "generator_turns": 1, "turn_batches": 1},
    "clean_weight": 0.1,
    "pretrain": 0.5,
}

RECIPES: dict[str, dict[str, Any]] = {
    "standard": {"trainable": "standard"},
    "fgsm_retraining": {"trainable": "fgsm_retraining"},
    "fgsm_random_start": {"trainable": "fgsm_random_start"},
    "pgd": {"trainable": "pgd", "attack": {"steps": 7, "warmup": 0.0}},
    "trades": {"trainable": "trades", "attack": {"steps": 7, "warmup": 0.0}},
    "gan": {**GENERATOR, "pretrain": 0.0},
}


def endless(recipe: str, **changes: Any) -> dict[str, Any]:
    """Return the settings of a recipe's run with a constant learning rate that has no end."""
    settings = {**RECIPES[recipe], "compute": 1e6, "report_every": 1e6, "batch_size": BATCH_SIZE, **changes}
    settings["classifier"] = {"learning_rate": 1e-3, "schedule": "constant"}
    if recipe == "gan":
        # Without the warm-up, which would last for ever here and leave all images as they are.
        settings["generator"] = {**settings["generator"], "warmup": 0.0}
    return settings


def build(settings: dict[str, Any], dataset: Dataset, *, graphs: bool = True) -> TrainingLoop:
    """Return the loop of some settings, on a GPU in CUDA graphs or as it is called."""
    loop = registry.build(parse(settings), dataset)
    if not graphs:
        loop.updates = Updates(loop.device)
    return loop


def load_images(folder: Path | None) -> Dataset:
    """Return MNIST from a folder, or without one synthetic images of the same number and shape."""
    if folder is not None:
        return load("mnist", validation=5000, folder=folder)
    rng = torch.Generator().manual_seed(0)
    patterns = torch.rand(10, 1, 28, 28, generator=rng)

    def split(num_images: int) -> Split:
        labels = torch.randint(10, (num_images,), generator=rng)
        noise = torch.rand(num_images, 1, 28, 28, generator=rng)
        return Split((127 * (patterns[labels] + noise)).to(torch.uint8), labels, MNIST)

    return Dataset("synthetic", split(55_000), split(5_000), split(10_000), "synthetic")


def on(dataset: Dataset, device: str) -> Dataset:
    """Return a dataset on a device."""
    splits = (
        Split(s.images.to(device), s.labels.to(device), s.task)
        for s in (dataset.train, dataset.validation, dataset.test)
    )
    return Dataset(dataset.name, *splits, dataset.digest)
