"""Accuracy by epsilon, kept in the cache (``TUNER_CACHE``): it takes seconds, and each report of a sweep draws it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from trainables.errors import UserError
from trainables.storage.atomic import cache_folder, write_json
from trainables.storage.checked_json import read_json

_FOLDER = "curves"


@dataclass(frozen=True)
class _Curve:
    """The content of a file: pairs of a radius and the accuracy at that radius."""

    accuracy_by_epsilon: tuple[tuple[float, float], ...]


def keep_curve(
    identity: object, weights: Mapping[str, torch.Tensor], measure: Callable[[], dict[float, float]]
) -> dict[float, float]:
    """Return a classifier's accuracy by epsilon, measured if the cache does not have it.

    A file of the cache that is damaged is made again; a cache that cannot be written keeps nothing.

    Args:
        identity: what the curve depends on beside the weights, as for JSON: code, settings, data.
        weights: the classifier's ``state_dict``.
        measure: returns the curve.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for name, tensor in weights.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    try:
        path = cache_folder(_FOLDER) / f"{digest.hexdigest()[:32]}.json"
    except UserError:
        return measure()
    with contextlib.suppress(OSError, UserError):
        return dict(read_json(path, _Curve, remedy="it is made again").accuracy_by_epsilon)
    curve = measure()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"format": 1, "accuracy_by_epsilon": list(curve.items())})
    return curve
