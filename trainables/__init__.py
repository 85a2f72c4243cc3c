"""Learns: recipes, networks, attacks and their evaluation, in one process. Only `worker` knows Ray.

import trainables

classifier = trainables.load("exports/first-trial-0007")  # a torch.nn.Module: images in [0, 1] to logits
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def load(bundle: str | PathLike[str]) -> nn.Module:
    """Return the classifier of a bundle in evaluation mode.

    It maps images ``(batch, C, H, W)`` with pixels in [0, 1] to logits ``(batch, classes)``. Neither Ray nor Optuna nor
    MLflow is needed.

    Args:
        bundle: the folder that ``tuner export`` or ``tuner train`` wrote.

    Raises:
        BundleError: a file is missing, damaged, or changed since it was written.
    """
    from pathlib import Path

    from trainables.networks.bundle import read_bundle

    return read_bundle(Path(bundle))[1].eval()
