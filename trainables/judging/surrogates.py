"""Rivals: classifiers trained independently of the one that is judged, whose adversarial images are tried on it.

They are trained on first use and kept in the cache (``TUNER_CACHE``): they depend on the dataset and epsilon alone.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from filelock import FileLock
from torch import nn

from trainables.config import DatasetConfig, parse
from trainables.data.tensors import Dataset
from trainables.errors import BundleError, UserError
from trainables.networks.bundle import read_bundle, write_classifier
from trainables.seeds import seed_for
from trainables.storage.atomic import cache_folder, whole_folder
from trainables.training import registry

_SEED = seed_for(2017, "rivals")
# One as people train without a defence, and one whose adversarial images are not noise to a robust net.
RECIPES: dict[str, dict[str, Any]] = {
    "standard": {"compute": 3.0, "report_every": 3.0},
    "pgd": {"compute": 12.0, "report_every": 12.0, "attack": {"steps": 2, "reach": 2.0}},
}


def rivals(dataset: Dataset, config: DatasetConfig, epsilon: float) -> dict[str, nn.Module]:
    """Return the rivals of a dataset by their recipe, in evaluation mode and on its device.

    Args:
        dataset: what they learn from if they are not in the cache.
        config: which dataset that is.
        epsilon: what the robust one is trained to withstand, in pixels of [0, 1].

    Raises:
        UserError: the cache cannot be written.
    """
    return {
        name: _rival({"trainable": name, **recipe}, dataset, config, epsilon).to(dataset.train.images.device).eval()
        for name, recipe in RECIPES.items()
    }


def _rival(recipe: dict[str, Any], dataset: Dataset, config: DatasetConfig, epsilon: float) -> nn.Module:
    settings = {
        **recipe,
        "dataset": config.model_dump(),
        "evaluation": {"epsilon": epsilon},
        "seed": _SEED,
    }
    complete = parse(settings).model_dump(mode="json")
    folder = cache_folder("rivals") / _name(complete, dataset.digest)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):  # of several processes one trains, the others wait for it
            try:
                return read_bundle(folder)[1]
            except BundleError:
                loop = registry.build(parse(settings), dataset)
                while not loop.done:
                    loop.step()
                with whole_folder(folder, replace=True) as temporary:
                    write_classifier(temporary, complete, loop.classifier.state_dict())
    except OSError as error:
        raise UserError(
            f"the surrogate models cannot be kept in {folder.parent}: {error}; TUNER_CACHE names another cache"
        ) from error
    return loop.classifier


def _name(settings: dict[str, Any], digest: str) -> str:
    identity = json.dumps([settings, digest], sort_keys=True).encode()
    return f"{settings['dataset']['name']}-{settings['trainable']}-{hashlib.sha256(identity).hexdigest()[:12]}"
