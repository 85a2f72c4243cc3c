"""Trained classifiers of ours on disk: exported bundles and checkpoints.

A bundle is a folder with a configuration (JSON), weights (safetensors) and checksums. No code in these files is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import nn

from trainables.config import TrainingConfig, parse
from trainables.config.plugins import trust
from trainables.config.plugins.packages import check_packages
from trainables.config.plugins.references import is_weights
from trainables.config.plugins.user_code import CODE, provide, read_source
from trainables.errors import BundleError, CheckpointError, UserError
from trainables.networks.classifiers import build_classifier, network_builder
from trainables.networks.matching import build_classifier_of, check_finite, check_fit, closest_fit, num_parameters
from trainables.networks.torch_files import MAX_INDEX_BYTES, StoredTensor, check_header
from trainables.storage.bundle_files import (
    CONFIGURATION,
    WEIGHTS,
    read_bundle_json,
    read_checked,
    refuse,
    write_checksums,
)
from trainables.storage.checkpoint import RunCheckpoint

Network: TypeAlias = nn.Module
"""A classifier: images ``(batch, channels, height, width)`` to logits ``(batch, classes)``."""
Weights: TypeAlias = dict[str, torch.Tensor]
"""A ``state_dict``."""
_BYTES_PER_VALUE = 8  # float64, the widest type


def write_classifier(target: Path, settings: dict[str, Any], state: Weights) -> None:
    """Write a bundle: a complete configuration and a classifier's ``state_dict``, into a folder that exists.

    Raises:
        BundleError: a weight is not finite.
    """
    check_finite(state, "the trained classifier")
    (target / CONFIGURATION).write_text(json.dumps(settings, indent=2, allow_nan=False) + "\n")
    (target / WEIGHTS).write_bytes(dump_tensors({name: tensor.contiguous() for name, tensor in state.items()}))
    write_checksums(target, CONFIGURATION, WEIGHTS)


def write_code(target: Path, code: Mapping[str, bytes]) -> None:
    """Write the files of code of a user's own into the folder of a bundle or a sweep.

    Args:
        target: the folder.
        code: the files by their names.
    """
    for name, source in code.items():
        if is_weights(name):
            continue  # the trained weights are in the bundle
        (target / CODE).mkdir(exist_ok=True)
        (target / CODE / name).write_bytes(source)


def compare_weights(weights: Weights, others: Weights) -> tuple[bool, float]:
    """Return whether two networks of one architecture have equal weights, bit for bit, and the largest difference."""
    differences = [float((weights[name].double() - others[name].double()).abs().max()) for name in weights]
    return all(torch.equal(weights[name], others[name]) for name in weights), max(differences, default=0.0)


def write_from_checkpoint(target: Path, settings: dict[str, Any], checkpoint: RunCheckpoint) -> None:
    """Write the classifier of a run's last checkpoint as a bundle into a folder that exists.

    Raises:
        CheckpointError: the checkpoint is missing or cannot be used.
        BundleError: a weight is not finite.
    """
    write_classifier(target, settings, _result_of(checkpoint))


def _result_of(checkpoint: RunCheckpoint) -> Weights:
    """Return the weights of the classifier that the run's metrics are of: their average, if the run keeps one."""
    loop = checkpoint.load()["loop"]
    weights: dict[str, torch.Tensor] = loop.get("average", loop)["classifier"]
    return weights


def read_bundle(folder: Path) -> tuple[TrainingConfig, nn.Module]:
    """Return a bundle's configuration and its classifier.

    Raises:
        BundleError: a file is missing, damaged, changed since it was written, larger than it can be, or does not fit.
        UserError: it needs code of a user's own that may not run here.
    """
    config: TrainingConfig = read_bundle_json(folder, CONFIGURATION, _parse_here)
    provide_code(folder, config.code)
    architecture, task = config.classifier.architecture, config.dataset.task
    build = network_builder(architecture, config.code, config.classifier.network_options)
    content = read_checked(folder, WEIGHTS, num_parameters(build, task) * _BYTES_PER_VALUE + MAX_INDEX_BYTES)
    try:
        weights = load_tensors(check_header(content))
    except (ValueError, SafetensorError) as error:
        refuse(folder, error)
    stored = {name: StoredTensor(tuple(value.shape), value.dtype, value.clone) for name, value in weights.items()}
    fit = closest_fit([stored], {architecture: build}, task)
    check_fit(fit, str(folder / WEIGHTS), is_chosen=True)
    return config, build_classifier_of(fit, str(folder / WEIGHTS))


def _parse_here(settings: dict[str, Any]) -> TrainingConfig:
    code = settings.get("code") if isinstance(settings, dict) else None
    if isinstance(code, dict):
        check_packages(code)
    config: TrainingConfig = parse(settings)
    return config


def provide_code(folder: Path, code: Mapping[str, str]) -> None:
    """Let this process run the code of a user's own in a folder, if the user lets it.

    Args:
        folder: of a bundle or a sweep.
        code: SHA-256 by the name of the file or module.

    Raises:
        UserError: it may not run here, or a file is missing or another one.
    """
    if not code:
        return
    trust.check(code, str(folder))
    for name, source in read_code(folder, code).items():
        if provide(source) != code[name]:
            raise UserError(f"{folder / CODE / name} was changed: its SHA-256 is not {code[name][:12]}...")


def read_code(folder: Path, code: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files of code of a user's own in a folder, by their names; those of installed modules are not there.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    return {name: read_source(folder / CODE / name) for name in code if name.endswith(".py")}


def read_checkpoint(config: TrainingConfig, checkpoint: RunCheckpoint) -> nn.Module:
    """Return the classifier of a run's last checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing or cannot be used, or a weight is not finite.
    """
    classifier = build_classifier(config.classifier, config.dataset.task, code=config.code)
    state = _result_of(checkpoint)
    try:
        check_finite(state, "the checkpoint")
    except BundleError as error:
        raise CheckpointError(str(error)) from error
    classifier.load_state_dict(state)
    return classifier
