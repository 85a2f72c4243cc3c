"""Trained classifiers on disk: exported bundles, checkpoints, and PyTorch state dicts from elsewhere.

A bundle is a folder with a configuration (JSON) and weights (safetensors). No code in any of these files is run.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as dump_tensors
from torch import nn

from trainables.config import ClassifierConfig, TrainingConfig, parse
from trainables.errors import BundleError
from trainables.networks.classifiers import CLASSIFIERS, build_classifier
from trainables.storage.checkpoint import RunCheckpoint

CONFIGURATION, WEIGHTS = "configuration.json", "classifier.safetensors"


def write_classifier(target: Path, settings: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
    """Write a bundle: a complete configuration and a classifier's ``state_dict``, into a folder that exists."""
    (target / CONFIGURATION).write_text(json.dumps(settings, indent=2) + "\n")
    (target / WEIGHTS).write_bytes(dump_tensors({name: tensor.contiguous() for name, tensor in state.items()}))


def write_from_checkpoint(target: Path, settings: dict[str, Any], checkpoint: RunCheckpoint) -> None:
    """Write the classifier of a run's last checkpoint as a bundle into a folder that exists.

    Raises:
        CheckpointError: the checkpoint is missing or cannot be used.
    """
    write_classifier(target, settings, checkpoint.load()["loop"]["classifier"])


def read_bundle(folder: Path) -> tuple[TrainingConfig, nn.Module]:
    """Return a bundle's configuration and its classifier.

    Raises:
        BundleError: a file is missing, damaged or does not fit.
    """
    try:
        config: TrainingConfig = parse(json.loads((folder / CONFIGURATION).read_text()))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise BundleError(f"{folder} is no bundle that `tuner export` wrote: {error}") from error
    return config, build_from_weights(weights, config.classifier.architecture, str(folder / WEIGHTS))


def read_checkpoint(config: TrainingConfig, checkpoint: RunCheckpoint) -> nn.Module:
    """Return the classifier of a run's last checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing or cannot be used.
    """
    classifier = build_classifier(config.classifier)
    classifier.load_state_dict(checkpoint.load()["loop"]["classifier"])
    return classifier


def read_state_dict(path: Path, architecture: str | None = None) -> nn.Module:
    """Return a classifier from a plain ``state_dict`` that ``torch.save`` or safetensors wrote.

    Args:
        path: the file; no code in it is run.
        architecture: one of `classifiers.CLASSIFIERS`; by default the one that fits.

    Raises:
        BundleError: the file is no state dict, or fits no architecture; says which tensors are missing or unexpected.
    """
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else _load_tensors(path)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise BundleError(f"{path} is no state dict that can be read safely: {_first_line(error)}") from error
    if not (
        isinstance(weights, Mapping) and weights and all(isinstance(value, torch.Tensor) for value in weights.values())
    ):
        raise BundleError(f"{path} holds no state dict: it must be a mapping of names to tensors and nothing else")
    if architecture is not None and architecture not in CLASSIFIERS:
        raise BundleError(f"there is no architecture {architecture!r}: {', '.join(CLASSIFIERS)}")
    # The best fit is the architecture with the shortest list of mismatches.
    closest = architecture or min(CLASSIFIERS, key=lambda name: len("".join(_mismatches(weights, name))))
    return build_from_weights(weights, closest, str(path))


def _load_tensors(path: Path) -> Any:
    """Read tensors and containers of them; a file that asks for anything else is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a pickle's protocol before it refuses what is in it
        return torch.load(path, "cpu", weights_only=True)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def build_from_weights(weights: Mapping[str, torch.Tensor], architecture: str, source: str) -> nn.Module:
    """Return a classifier of an architecture with given weights.

    Args:
        weights: tensors by the names of our networks, or by those of the same network without our wrapper.
        architecture: one of `classifiers.CLASSIFIERS`.
        source: where the weights come from, for messages.

    Raises:
        BundleError: the weights do not fit; says which are missing, unexpected or of another shape.
    """
    if mismatches := _mismatches(weights, architecture):
        raise BundleError(f"{source} does not fit the architecture {architecture}: {'; '.join(mismatches)}")
    classifier = build_classifier(ClassifierConfig.model_validate({"architecture": architecture}))
    classifier.load_state_dict(_with_our_names(weights, classifier.state_dict()))
    return classifier


def _with_our_names(
    weights: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the weights by the names of our networks, which are wrapped in `LeadingDimensions`."""
    wrapped = {f"body.{name}": tensor for name, tensor in weights.items()}
    return wrapped if len(wrapped.keys() & expected.keys()) > len(weights.keys() & expected.keys()) else dict(weights)


def _mismatches(weights: Mapping[str, torch.Tensor], architecture: str) -> list[str]:
    expected = build_classifier(ClassifierConfig.model_validate({"architecture": architecture})).state_dict()
    given = _with_our_names(weights, expected)
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    shapes = [
        f"{name} has the shape {tuple(given[name].shape)} in place of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    named = {"missing": missing, "unexpected": unexpected}
    return [f"{what} {', '.join(names)}" for what, names in named.items() if names] + shapes
