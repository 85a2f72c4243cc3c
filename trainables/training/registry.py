"""The table of recipes: from a configuration to its training loop.

A new recipe is a row of `trainables.config.plugins.registries.RECIPES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import nn

from trainables.config import GanConfig, TrainingConfig
from trainables.config.plugins.registries import RECIPES, Entry, RegistryView, explain_value, import_of, imported
from trainables.data.tensors import Dataset
from trainables.errors import UserError
from trainables.networks.classifiers import build_classifier
from trainables.networks.generators import build_generator
from trainables.training.loop import TrainingLoop

Loop: TypeAlias = Callable[[Any, Dataset], TrainingLoop]
"""Makes the loop of a configuration on a dataset."""


def _loop_of(entry: Entry) -> Loop:
    """Return the class of a recipe's loop.

    Raises:
        UserError: the recipe is a package's and cannot be used.
    """
    target = entry.load().loop
    of_whom = f"the loop of the recipe {entry.name} of {entry.package}"
    loop = import_of(target, of_whom) if entry.package else imported(target)
    if not (isinstance(loop, type) and issubclass(loop, TrainingLoop)):
        raise UserError(
            f"{of_whom} ({target}) must be a class made from trainables.training.loop.TrainingLoop, not "
            f"{explain_value(loop)}"
        )
    if missing := sorted(getattr(loop, "__abstractmethods__", ())):
        raise UserError(f"{of_whom} ({target}) lacks {', '.join(missing)}: see trainables.training.loop.TrainingLoop")
    return loop


LOOPS = RegistryView(RECIPES, _loop_of)
"""The loop of each recipe, ours and those of installed packages."""


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
