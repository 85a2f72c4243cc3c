"""Surrogate models for transfer attacks: classifiers trained independently of the one that is attacked.

Adversarial images made against a surrogate are tried on the attacked classifier, which needs none of its gradients.
Surrogates depend on the dataset and on epsilon alone, so they are trained once and kept in the cache (``TUNER_CACHE``).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from filelock import FileLock
from torch import nn

from trainables.common.seeds import seed_for
from trainables.common.tasks import Norm
from trainables.config import DatasetConfig, parse
from trainables.data.tensors import Dataset
from trainables.errors import BundleError, UserError
from trainables.networks.bundle import read_bundle, write_classifier
from trainables.storage.atomic import cache_folder, whole_folder
from trainables.training import registry

# The word is part of the cached models' identity, as is the folder's name below.
_SEED = seed_for(2017, "rivals")
_CACHE = "rivals"

# An undefended classifier, and a robust one, whose adversarial images also fool robust classifiers.
RECIPES: dict[str, dict[str, Any]] = {
    "standard": {"compute": 3.0, "report_every": 3.0},
    "pgd": {"compute": 12.0, "report_every": 12.0, "attack": {"steps": 2, "reach": 2.0}},
}


def load_surrogates(
    dataset: Dataset, config: DatasetConfig, epsilon: float, norm: Norm = "linf"
) -> dict[str, nn.Module]:
    """Return the surrogate models of a dataset by their recipe, trained first if they are not in the cache.

    Args:
        dataset: its training images train them.
        config: the settings of that dataset.
        epsilon: the radius that the robust one is trained against, in pixels of [0, 1].
        norm: of the ball.

    Returns:
        Classifiers in evaluation mode, on the dataset's device.

    Raises:
        UserError: the cache cannot be written.
    """
    device = dataset.train.device
    return {
        name: _load_surrogate({"trainable": name, **recipe}, dataset, config, epsilon, norm).to(device).eval()
        for name, recipe in RECIPES.items()
    }


def _load_surrogate(
    recipe: dict[str, Any], dataset: Dataset, config: DatasetConfig, epsilon: float, norm: Norm
) -> nn.Module:
    settings = {
        **recipe,
        "dataset": config.model_dump(),
        "evaluation": {"epsilon": epsilon, "norm": norm},
        "seed": _SEED,
    }
    complete = parse(settings).model_dump(mode="json")
    folder = cache_folder(_CACHE) / _folder_name(complete, dataset.digest)
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
                    write_classifier(temporary, complete, loop.result.state_dict())
    except OSError as error:
        raise UserError(
            f"the surrogate models cannot be kept in {folder.parent}: {error}; TUNER_CACHE names another cache"
        ) from error
    return loop.result


def _folder_name(settings: dict[str, Any], digest: str) -> str:
    identity = json.dumps([settings, digest], sort_keys=True).encode()
    return f"{settings['dataset']['name']}-{settings['trainable']}-{hashlib.sha256(identity).hexdigest()[:12]}"
