"""Checkpoints that appear whole or not at all, read without unpickling: safetensors for tensors, JSON for the rest.

A folder of checkpoints holds the newest two, each a folder named by its step:
``00000007/{state.json,tensors.safetensors}``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors

from trainables.errors import CheckpointError
from trainables.storage.atomic import write_whole
from trainables.storage.sweep_store import SweepStore

FORMAT = 1
_TENSOR, _PAIRS = "$tensor", "$pairs"


def _pack(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the JSON form of a nested state, with its tensors moved to the table."""
    if isinstance(value, torch.Tensor):
        # The path is for people; the number keeps {"a/b": ...} and {"a": {"b": ...}} apart.
        name = f"{len(tensors)}{path}"
        tensors[name] = value.detach().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, dict):
        packed = [(key, _pack(item, f"{path}/{key}", tensors)) for key, item in value.items()]
        return dict(packed) if all(isinstance(key, str) for key in value) else {_PAIRS: packed}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
    return value


def _unpack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        items = value[_PAIRS] if _PAIRS in value else value.items()
        return {key: _unpack(item, tensors) for key, item in items}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value


def save(
    folder: Path, step: int, state: dict[str, Any], *, staging: Path | None = None, store: SweepStore | None = None
) -> None:
    """Add the checkpoint of a step to a folder and drop all but the newest two.

    Args:
        folder: made if it is missing.
        step: names the checkpoint; saving a step again replaces it.
        state: nested dictionaries and lists of tensors, numbers, strings, booleans and None.
        staging: where the checkpoint is put together, see `trainables.worker.fencing`; by default beside its place.
        store: that the folder is in, where it may be a working copy; by default the checkpoints are on this disk alone.

    Raises:
        OSError: it cannot be written; the ones before it are as they were.
    """
    store = store or SweepStore(folder)
    tensors: dict[str, torch.Tensor] = {}
    packed = _pack(state, "", tensors)
    blob = dump_tensors(tensors)
    header = {"format": FORMAT, "sha256": _sha256(blob), "state_sha256": _sha256(_as_json(packed)), "state": packed}
    with store.whole_folder(folder / f"{step:08d}", replace=True, staging=staging, last="state.json") as temporary:
        write_whole(temporary / "tensors.safetensors", blob)
        write_whole(temporary / "state.json", _as_json(header))
    for old in _steps(folder)[:-2]:
        store.remove_stored(old)
        shutil.rmtree(old, ignore_errors=True)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """Return the state of the newest undamaged checkpoint on this disk, or None if there is none.

    In a working copy, fetch the folder first: `trainables.storage.sweep_store.SweepStore.fetch_folder`.

    Raises:
        CheckpointError: a checkpoint is there but none can be read.
    """
    problems = []
    for path in reversed(_steps(folder)):
        try:
            return _load(path)
        except (CheckpointError, SafetensorError, OSError, ValueError, KeyError, TypeError) as problem:
            problems.append(f"{path}: {problem}")
    if problems:
        raise CheckpointError("no checkpoint can be read; " + "; ".join(problems))
    return None


def require_newest(folder: Path) -> dict[str, Any]:
    """Return the state of the newest undamaged checkpoint, as `load_newest` does, where there has to be one.

    Raises:
        CheckpointError: there is no checkpoint, or none can be read.
    """
    state = load_newest(folder)
    if state is None:
        raise CheckpointError(f"there is no checkpoint in {folder}")
    return state


def _steps(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _load(path: Path) -> dict[str, Any]:
    header = json.loads((path / "state.json").read_bytes())
    if header["format"] != FORMAT:
        raise CheckpointError(f"format {header['format']}, this version reads {FORMAT}")
    blob = (path / "tensors.safetensors").read_bytes()
    if _sha256(blob) != header["sha256"]:
        raise CheckpointError("checksum of tensors.safetensors does not match")
    packed = _sha256(_as_json(header["state"]))
    # Checkpoints without this checksum are read too: nothing contradicts them.
    if header.get("state_sha256", packed) != packed:
        raise CheckpointError("checksum of the state in state.json does not match")
    state: dict[str, Any] = _unpack(header["state"], load_tensors(blob))
    return state
