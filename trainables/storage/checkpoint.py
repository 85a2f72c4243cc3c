"""Checkpoints that appear whole or not at all, read without unpickling: safetensors for tensors, JSON for the rest.

A folder of checkpoints holds the newest two, each a folder named by its step:
``00000007/{state.json,tensors.safetensors}``. Since format 2, ``state.json`` says of which run of which sweep the
checkpoint is, with which settings, and after which step; format 1 says nothing of that.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors

from trainables.errors import CheckpointError
from trainables.storage.atomic import write_whole
from trainables.storage.bounded import read_bounded
from trainables.storage.run_identity import RunIdentity
from trainables.storage.sweep_store import SweepStore

FORMAT, FORMAT_WITHOUT_IDENTITY = 2, 1
_MAX_STATE_BYTES, _MAX_TENSOR_BYTES = 64 * 1024**2, 4 * 1024**3
_STEP = re.compile(r"\d{8,}")
_UNREADABLE = (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError)
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
    folder: Path,
    step: int,
    state: dict[str, Any],
    *,
    identity: RunIdentity | None = None,
    staging: Path | None = None,
    store: SweepStore | None = None,
) -> None:
    """Add the checkpoint of a step to a folder and drop all but the newest two.

    Args:
        folder: made if it is missing.
        step: names the checkpoint; saving a step again replaces it.
        state: nested dictionaries and lists of tensors, numbers, strings, booleans and None.
        identity: of the run that the checkpoint is of; None for one that is of no sweep.
        staging: where the checkpoint is put together, see `trainables.worker.fencing`; by default beside its place.
        store: that the folder is in, where it may be a working copy; by default the checkpoints are on this disk alone.

    Raises:
        OSError: it cannot be written; the ones before it are as they were.
    """
    store = store or SweepStore(folder)
    tensors: dict[str, torch.Tensor] = {}
    packed = _pack(state, "", tensors)
    blob = dump_tensors(tensors)
    header = {"format": FORMAT, **(identity.as_json() if identity else {}), "step": step}
    header |= {"sha256": _sha256(blob), "state_sha256": _sha256(_as_json(packed)), "state": packed}
    with store.whole_folder(folder / f"{step:08d}", replace=True, staging=staging, last="state.json") as temporary:
        write_whole(temporary / "tensors.safetensors", blob)
        write_whole(temporary / "state.json", _as_json(header))
    for old in _steps(folder)[:-2]:
        store.remove_stored(old)
        shutil.rmtree(old, ignore_errors=True)


def load_newest(
    folder: Path,
    identity: RunIdentity | None = None,
    *,
    accepts_format_1: bool = True,
    skip: Callable[[Path, str], None] | None = None,
) -> dict[str, Any] | None:
    """Return the state of the newest checkpoint on this disk that can be used, or None if there is none.

    In a working copy, fetch the folder first: `trainables.storage.sweep_store.SweepStore.fetch_folder`.

    Args:
        folder: of the checkpoints of one run.
        identity: of the run; a checkpoint of another one cannot be used. None takes any.
        accepts_format_1: whether a checkpoint that does not say of which run it is can be used.
        skip: called with each newer checkpoint that cannot be used, and why.

    Raises:
        CheckpointError: checkpoints are there but none can be used; not raised where `skip` is given.
    """
    problems = []
    for path in reversed(_steps(folder)):
        try:
            return _load(path, identity, accepts_format_1)
        except CheckpointError as problem:
            problems.append(f"{path}: {problem}")
            if skip:
                skip(path, str(problem))
    if problems and not skip:
        raise CheckpointError("no checkpoint can be read; " + "; ".join(problems))
    return None


@dataclass(frozen=True)
class RunCheckpoint:
    """The one checkpoint of a run whose weights belong to the run's last report.

    Attributes:
        folder: of the run's checkpoints, on this disk.
        step: of the last report.
        identity: of the run; None takes a checkpoint of any run.
        accepts_format_1: see `load_newest`.
        remedy: what a person can do if it cannot be used, as the end of a sentence.
    """

    folder: Path
    step: int
    identity: RunIdentity | None = None
    accepts_format_1: bool = True
    remedy: str = "put a copy of it in its place"

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.folder / f"{self.step:08d}"

    def load(self) -> dict[str, Any]:
        """Return its state.

        Raises:
            CheckpointError: it is missing, damaged or of another run or step; an older one is never taken for it.
        """
        try:
            return _load(self.path, self.identity, self.accepts_format_1)
        except CheckpointError as error:
            raise CheckpointError(
                f"the checkpoint of the last report, {self.path}, cannot be used: {error}; {self.remedy}"
            ) from error


def _steps(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.glob("[0-9]*") if _STEP.fullmatch(path.name) and path.is_dir()),
        key=lambda path: int(path.name),
    )


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _load(path: Path, identity: RunIdentity | None, accepts_format_1: bool) -> dict[str, Any]:
    if not path.is_dir():
        others = ", ".join(str(int(other.name)) for other in _steps(path.parent))
        raise CheckpointError(f"it is not there; others there: {others or 'none'}")
    try:
        header = json.loads(read_bounded(path / "state.json", _MAX_STATE_BYTES))
        _check_identity(header, path, identity, accepts_format_1)
        blob = read_bounded(path / "tensors.safetensors", _MAX_TENSOR_BYTES)
        _check_content(header, blob)
        state: dict[str, Any] = _unpack(header["state"], load_tensors(blob))
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        raise CheckpointError(f"{type(error).__name__}: {error}") from error
    if header["format"] == FORMAT_WITHOUT_IDENTITY and _reported_step(state) not in (None, int(path.name)):
        raise CheckpointError(f"it is of the step {_reported_step(state)}")
    return state


def _check_identity(header: dict[str, Any], path: Path, identity: RunIdentity | None, accepts_format_1: bool) -> None:
    if header["format"] not in (FORMAT, FORMAT_WITHOUT_IDENTITY):
        raise CheckpointError(f"format {header['format']}, this version reads 1 and 2")
    if header["format"] == FORMAT_WITHOUT_IDENTITY:
        if not accepts_format_1:
            raise CheckpointError("it does not say of which run it is")
        return
    if identity and (mismatch := identity.mismatch(header)):
        raise CheckpointError(mismatch)
    if header["step"] != int(path.name):
        raise CheckpointError(f"it is of the step {header['step']}")


def _check_content(header: dict[str, Any], blob: bytes) -> None:
    if _sha256(blob) != header["sha256"]:
        raise CheckpointError("checksum of tensors.safetensors does not match")
    packed = _sha256(_as_json(header["state"]))
    # Checkpoints of the first releases have no checksum of the state: nothing contradicts them.
    is_optional = header["format"] == FORMAT_WITHOUT_IDENTITY
    if header.get("state_sha256", packed if is_optional else None) != packed:
        raise CheckpointError("checksum of the state in state.json does not match")


def _reported_step(state: dict[str, Any]) -> object:
    metrics = state.get("metrics")
    return metrics.get("step") if isinstance(metrics, dict) else None
