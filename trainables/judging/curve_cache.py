"""Accuracy by epsilon in the user's cache (``TUNER_CACHE``): measuring it takes seconds, and each report draws it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import save as dump_tensors

from trainables.errors import UserError
from trainables.storage.atomic import cache_folder, write_json
from trainables.storage.checked_json import read_json

_FOLDER = "curves"


@dataclass(frozen=True)
class _Curve:
    """The content of a file: pairs of a radius and the accuracy at that radius."""

    accuracy_by_epsilon: tuple[tuple[float, float], ...]


def cached_curve(
    identity: object, weights: Mapping[str, torch.Tensor], measure: Callable[[], dict[float, float]]
) -> dict[float, float]:
    """Return a classifier's accuracy by epsilon, from the cache or else measured and added to it.

    A damaged file of the cache is made again; where the cache cannot be written, the curve is measured each time.

    Args:
        identity: what the curve depends on beside the weights, as for JSON: code, settings, data.
        weights: the classifier's ``state_dict``.
        measure: returns the curve.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    digest.update(dump_tensors({name: tensor.cpu().clone() for name, tensor in weights.items()}))
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
