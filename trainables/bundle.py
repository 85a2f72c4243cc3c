"""A trained classifier on disk: its configuration as JSON and its weights as safetensors. Nothing is ever unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as dump_tensors

from trainables import checkpoint
from trainables.config import TrainingConfig, parse
from trainables.data import load
from trainables.evaluation import evaluate
from trainables.models import build_classifier

CONFIGURATION, WEIGHTS = "configuration.json", "classifier.safetensors"


class BundleError(ValueError):
    """A bundle's files are missing, damaged or do not fit together."""


def write_classifier(target: Path, settings: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
    """Write a configuration and a classifier's weights into a folder."""
    (target / CONFIGURATION).write_text(json.dumps(settings, indent=2) + "\n")
    (target / WEIGHTS).write_bytes(dump_tensors({name: tensor.contiguous() for name, tensor in state.items()}))


def write_from_checkpoint(target: Path, settings: dict[str, Any], checkpoints: Path) -> None:
    """Write the classifier of a run's newest checkpoint into a folder.

    Raises:
        CheckpointError: no checkpoint is there, or none can be read.
    """
    state = checkpoint.load_newest(checkpoints)
    if state is None:
        raise checkpoint.CheckpointError(f"there is no checkpoint in {checkpoints}")
    write_classifier(target, settings, state["loop"]["classifier"])


def set_num_threads(num_threads: int) -> None:
    """Set how many threads torch computes with; the last digit of a float can depend on it."""
    torch.set_num_threads(num_threads)


def evaluate_bundle(
    folder: Path, split: str, *, data: Path | None = None, num_images: int | None = None, num_threads: int = 1
) -> dict[str, float]:
    """Return the ``rank`` accuracies of a bundle's classifier, computed as its training run computed them.

    Args:
        folder: the bundle.
        split: ``validation`` (on as many images as the run's own ranking) or ``test`` (all images).
        data: where the dataset's files were put by hand.
        num_images: only the first images of the split.
        num_threads: see `set_num_threads`.

    Raises:
        BundleError: a file is missing, damaged or does not fit.
    """
    config, classifier = _read(folder)
    set_num_threads(num_threads)
    dataset = load(config.dataset.name, validation=config.dataset.validation, folder=data)
    images = dataset.test if split == "test" else dataset.validation.head(config.evaluation.rank_images)
    if num_images is not None:
        images = images.head(num_images)
    return evaluate(classifier, images, epsilon=config.evaluation.epsilon, tier="rank", seed=config.seed)


def _read(folder: Path) -> tuple[TrainingConfig, torch.nn.Module]:
    try:
        config: TrainingConfig = parse(json.loads((folder / CONFIGURATION).read_text()))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise BundleError(f"{folder} is no bundle that `tuner export` wrote: {error}") from error
    classifier = build_classifier(config.classifier)
    try:
        classifier.load_state_dict(weights)
    except RuntimeError as error:
        raise BundleError(f"the weights in {folder} do not fit a {config.classifier.architecture}: {error}") from error
    return config, classifier
