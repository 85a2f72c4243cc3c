"""From a configuration to a training loop. A new recipe is one file, one configuration class and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainables.config import GanConfig, TrainingConfig
from trainables.data.tensors import Dataset
from trainables.networks.classifiers import build_classifier
from trainables.networks.generators import build_generator
from trainables.training.gan import GanLoop
from trainables.training.loop import TrainingLoop
from trainables.training.recipes import FgsmRetrainingLoop, PgdLoop, StandardLoop, TradesLoop

LOOPS: dict[str, Callable[[Any, Dataset], TrainingLoop]] = {
    "standard": StandardLoop,
    "fgsm_retraining": FgsmRetrainingLoop,
    "fgsm_random_start": PgdLoop,
    "pgd": PgdLoop,
    "trades": TradesLoop,
    "gan": GanLoop,
}


def build(config: TrainingConfig, dataset: Dataset) -> TrainingLoop:
    """Return the training loop that a configuration describes."""
    return LOOPS[config.trainable](config, dataset)  # type: ignore[attr-defined]


def num_parameters(config: TrainingConfig) -> int:
    """Return how many numbers a configuration's networks learn, those of past generators that are kept among them."""
    num = sum(one.numel() for one in build_classifier(config.classifier).parameters())
    if not isinstance(config, GanConfig):
        return num
    generator = config.generator
    return num + (1 + generator.pool) * sum(one.numel() for one in build_generator(generator).parameters())
