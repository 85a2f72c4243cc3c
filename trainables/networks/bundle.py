"""Trained classifiers of ours on disk: exported bundles and checkpoints.

A bundle is a folder with a configuration (JSON), weights (safetensors) and checksums. No code in these files is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import nn

from trainables.config import TrainingConfig, parse
from trainables.config.plugins import trust
from trainables.config.plugins.user_code import CODE, provide, read_source
from trainables.errors import BundleError, CheckpointError, UserError
from trainables.networks.classifiers import build_classifier, network_builder
from trainables.networks.matching import build_classifier_of, check_finite, check_fit, closest_fit, num_parameters
from trainables.networks.torch_files import MAX_INDEX_BYTES, StoredTensor, check_header
from trainables.storage.bounded import read_bounded
from trainables.storage.checkpoint import RunCheckpoint

CONFIGURATION, WEIGHTS, CHECKSUMS = "configuration.json", "classifier.safetensors", "checksums.json"
MAX_JSON_BYTES = 1_000_000
"""How large any JSON file of a bundle may be; those that are written have some 5 kB."""

Content = TypeVar("Content")
_BYTES_PER_VALUE = 8  # float64, the widest type


def write_classifier(target: Path, settings: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
    """Write a bundle: a complete configuration and a classifier's ``state_dict``, into a folder that exists.

    Raises:
        BundleError: a weight is not finite.
    """
    check_finite(state, "the trained classifier")
    (target / CONFIGURATION).write_text(json.dumps(settings, indent=2, allow_nan=False) + "\n")
    (target / WEIGHTS).write_bytes(dump_tensors({name: tensor.contiguous() for name, tensor in state.items()}))
    write_checksums(target, CONFIGURATION, WEIGHTS)


def write_checksums(folder: Path, *names: str) -> None:
    """Write the SHA-256 of files of a bundle beside those that are known already."""
    known = _read_checksums(folder) or {}
    known |= {name: _sha256((folder / name).read_bytes()) for name in names}
    (folder / CHECKSUMS).write_text(_checksums_text(known))


def write_from_checkpoint(target: Path, settings: dict[str, Any], checkpoint: RunCheckpoint) -> None:
    """Write the classifier of a run's last checkpoint as a bundle into a folder that exists.

    Raises:
        CheckpointError: the checkpoint is missing or cannot be used.
        BundleError: a weight is not finite.
    """
    write_classifier(target, settings, _result_of(checkpoint))


def _result_of(checkpoint: RunCheckpoint) -> dict[str, torch.Tensor]:
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
    config: TrainingConfig = read_bundle_json(folder, CONFIGURATION, parse)
    provide_code(folder, config.code)
    architecture, task = config.classifier.architecture, config.dataset.task
    build = network_builder(architecture, config.code)
    content = read_checked(folder, WEIGHTS, num_parameters(build, task) * _BYTES_PER_VALUE + MAX_INDEX_BYTES)
    try:
        weights = load_tensors(check_header(content))
    except (ValueError, SafetensorError) as error:
        _refuse(folder, error)
    stored = {name: StoredTensor(tuple(value.shape), value.dtype, value.clone) for name, value in weights.items()}
    fit = closest_fit([stored], {architecture: build}, task)
    check_fit(fit, str(folder / WEIGHTS), is_chosen=True)
    return config, build_classifier_of(fit, str(folder / WEIGHTS))


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


def read_bundle_json(folder: Path, name: str, parse_content: Callable[[Any], Content]) -> Content:
    """Return the content of a JSON file of a bundle.

    Args:
        folder: of the bundle.
        name: of the file.
        parse_content: returns what the plain data stands for; a ValueError says that it is something else.

    Raises:
        BundleError: the file is missing, damaged, changed, too large or something else.
    """
    try:
        return parse_content(json.loads(read_checked(folder, name, MAX_JSON_BYTES), parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BundleError):
            raise
        _refuse(folder, error, name)


def read_checked(folder: Path, name: str, max_bytes: int) -> bytes:
    """Return the content of a bundle's file, which is what was written, as far as the bundle has checksums.

    Bundles of earlier releases have none.

    Raises:
        BundleError: the file cannot be read, is not a regular file, is too large, or its checksum does not match.
    """
    try:
        content = read_bounded(folder / name, max_bytes)
        known = _read_checksums(folder)
    except (OSError, ValueError, RecursionError) as error:
        _refuse(folder, error)
    if known is not None and known.get(name) != _sha256(content):
        raise BundleError(f"{folder / name} was changed after it was written: its checksum in {CHECKSUMS} is another")
    return content


def content_digest(folder: Path) -> str:
    """Return a digest of the configuration and the weights of a bundle that has checksums."""
    known = _read_checksums(folder) or {}
    return _sha256(f"{known[CONFIGURATION]} {known[WEIGHTS]}".encode())[:16]


def find_changes(folder: Path) -> list[str]:
    """Return a sentence for each file of a bundle that is missing or was changed after it was written.

    Raises:
        BundleError: the checksums are missing or damaged.
    """
    try:
        text = read_bounded(folder / CHECKSUMS, MAX_JSON_BYTES).decode()
        known = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        _refuse(folder, error, CHECKSUMS)
    if not isinstance(known, dict) or text != _checksums_text(known):
        return [f"{folder / CHECKSUMS} was changed after it was written"]
    return [problem for name, digest in known.items() if (problem := _change(folder, name, digest))]


def _change(folder: Path, name: str, digest: str) -> str:
    try:
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{folder / name} cannot be read: {error.strerror or error}"
    return "" if found == digest else f"{folder / name} was changed after it was written"


def has_checksums(folder: Path) -> bool:
    """Return whether a bundle has checksums."""
    return (folder / CHECKSUMS).exists()


def _checksums_text(known: dict[str, str]) -> str:
    return json.dumps(known, indent=2) + "\n"


def _read_checksums(folder: Path) -> dict[str, str] | None:
    if not has_checksums(folder):
        return None
    known = json.loads(read_bounded(folder / CHECKSUMS, MAX_JSON_BYTES))
    if not isinstance(known, dict):
        raise ValueError(f"{CHECKSUMS} is no mapping of names to checksums")  # noqa: TRY004 - the file is wrong, not a type
    return known


def _refuse(folder: Path, error: Exception, name: str = "") -> NoReturn:
    reason = (str(error) or type(error).__name__)[:500]
    detail = f"{name}: {reason}" if name else reason
    raise BundleError(f"{folder} is no bundle that `tuner export` or `tuner train` wrote: {detail}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no finite number")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
