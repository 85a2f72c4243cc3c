"""Whether a recipe or a generator's body of others works at all: tried on a few random images before any training."""

from __future__ import annotations

import torch
from pydantic import ValidationError

from trainables.common.tasks import Task
from trainables.config import GeneratorConfig, parse
from trainables.config.plugins.registries import RAISED, explain
from trainables.data.tensors import Dataset, Split
from trainables.errors import UserError
from trainables.networks.generators import build_generator
from trainables.training import registry

_NUM_IMAGES = 8


def check_recipe(name: str, task: Task) -> None:
    """Train one minibatch by a recipe with its default settings.

    Args:
        name: of the recipe.
        task: the shape of the images and the classes.

    Raises:
        UserError: it fails, or counts no compute.
    """
    try:
        config = parse({"trainable": name, "classifier": {"architecture": "mlp"}, "batch_size": _NUM_IMAGES})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"the recipe {name} needs a default for each of its settings: {where}: {first['msg']}"
        ) from None
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(2 * _NUM_IMAGES, *task.image_shape, generator=rng)
    split = Split(images, torch.arange(2 * _NUM_IMAGES) % task.num_classes, task)
    try:
        loop = registry.build(config, Dataset(config.dataset.name, split, split, split, ""))
        with loop.updates.active():
            loop.set_learning_rate()
            loop.train_minibatch()
        loop.restore(loop.state())
    except UserError:
        raise
    except RAISED as error:
        raise UserError(f"the recipe {name} fails: {explain(error)}") from error
    if not loop.meter.compute:
        raise UserError(f"the recipe {name} counts no compute, so it would never end: train by `run_update`")


def check_body(name: str, task: Task) -> None:
    """Perturb a few random images by a generator with a body of others.

    Args:
        name: of the body.
        task: the shape of the images and the classes.

    Raises:
        UserError: it fails, or its output is no perturbation of the images.
    """
    images = torch.rand(_NUM_IMAGES, *task.image_shape, generator=torch.Generator().manual_seed(0))
    try:
        generator = build_generator(GeneratorConfig(body=name, width=4), task)
        output = generator(torch.cat([images, images], 1))  # the images and their gradient
    except RAISED as error:
        raise UserError(
            f"the generator {name} fails: {explain(error)}; it is a function of the numbers of input channels, of "
            "channels of its widest layers and of output channels, and returns a torch.nn.Sequential"
        ) from error
    if output.shape != images.shape or output.dtype != torch.float32:
        kind = str(output.dtype).removeprefix("torch.")
        raise UserError(
            f"the generator {name} must return float32 in the shape {tuple(images.shape)}, not {kind} in "
            f"{tuple(output.shape)}"
        )
