"""The table of recipes: from a configuration to its training loop. A new recipe has a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

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
    """Return how many parameters a configuration's networks have, the average and earlier generators included."""
    classifiers = 1 if config.classifier.average_decay is None else 2
    num = classifiers * _num_parameters(build_classifier(config.classifier, config.dataset.task, code=config.code))
    if not isinstance(config, GanConfig):
        return num
    generator = config.generator
    return num + (1 + generator.pool) * _num_parameters(build_generator(generator, config.dataset.task))


def _num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
