"""A bundle as MLflow loads it: what the name ``loader_module`` of a registered model leads to.

``mlflow.pyfunc.load_model("models:/NAME@champion")`` imports this module and calls `_load_pyfunc`. The model's folder
holds weights (safetensors) and JSON; nothing in it is unpickled, and no code comes with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainables.config import parse
from trainables.data.tensors import load_dataset
from trainables.errors import DataError
from trainables.networks.bundle import read_bundle

_BATCH = 1000
_NUM_EXAMPLES = 2


class RegisteredClassifier:
    """A bundle's classifier behind MLflow's interface of models.

    Args:
        folder: of the bundle.

    Raises:
        BundleError: see `trainables.networks.bundle.read_bundle`.
    """

    def __init__(self, folder: Path) -> None:
        _, self._classifier = read_bundle(folder)
        self._classifier.eval()

    def get_raw_model(self) -> nn.Module:
        """Return the classifier itself, through which gradients flow."""
        return self._classifier

    def predict(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the logits ``(n, classes)`` of images ``(n, C, H, W)``, float32, pixels in [0, 1]."""
        with torch.no_grad():
            batches = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).split(_BATCH)
            return torch.cat([self._classifier(batch) for batch in batches]).numpy()


def example_images(settings: dict[str, Any], folder: Path | None = None) -> npt.NDArray[np.float32]:
    """Return two images as a run's classifier takes them: validation images, or black ones.

    Args:
        settings: of the run.
        folder: with the dataset's files, where they are not in the cache. Where they cannot be had, images are black.
    """
    config = parse(settings).dataset
    try:
        validation = load_dataset(config, folder=folder).validation
    except DataError:
        return np.zeros((_NUM_EXAMPLES, *config.task.image_shape), np.float32)
    images, _ = validation.batch(torch.arange(_NUM_EXAMPLES))
    return images.numpy()


def _load_pyfunc(path: str) -> RegisteredClassifier:
    """Return the classifier in a folder; MLflow calls this."""
    return RegisteredClassifier(Path(path))
