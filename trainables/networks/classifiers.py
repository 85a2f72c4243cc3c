"""Classifier networks: from images ``(..., C, H, W)`` in [0, 1] to logits ``(..., classes)``.

A new architecture is a function of the images' shape and the number of classes that returns a module, and a row in
`trainables.config.plugins.registries.CLASSIFIERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from trainables.common.tasks import ImageShape, Task
from trainables.config import ClassifierConfig
from trainables.config.plugins.options import with_options
from trainables.config.plugins.references import code_reference
from trainables.config.plugins.registries import CLASSIFIERS, RAISED, explain
from trainables.config.plugins.user_code import load
from trainables.errors import UserError
from trainables.networks.architectures.strided_convolution import StridedConvolution

NetworkBuilder = Callable[[ImageShape, int], nn.Module]
"""From the shape of images and the number of classes to a network."""

Module = TypeVar("Module", bound=nn.Module)


class LeadingDimensions(nn.Module):
    """Wraps a network of images ``(batch, ...)`` so that it takes any number of leading dimensions, even none.

    The output has the dtype of the images, whatever precision the network computes in.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        """Apply the network to images ``(..., C, H, W)`` and, if it takes any, vectors ``(..., n)``."""
        vectors = (vector.reshape(-1, vector.shape[-1]) for vector in numbers)
        output: torch.Tensor = self.body(images.reshape(-1, *images.shape[-3:]), *vectors)
        return output.to(images.dtype).reshape(*images.shape[:-3], *output.shape[1:])


def small_cnn(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Two strided convolutions and a hidden layer: 166,000 parameters on MNIST (the small network of Wong et al. 2020).

    Args:
        image_shape: channels, height and width; four pixels or more along each side.
        num_classes: how many logits there are.
    """
    channels, height, width = image_shape
    return nn.Sequential(
        StridedConvolution(channels, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        StridedConvolution(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), 100),
        nn.ReLU(),
        nn.Linear(100, num_classes),
    )


def madry_cnn(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Two 5x5 convolutions with pooling and a hidden layer of 1,024 (Madry et al. 2018); arguments as `small_cnn`."""
    channels, height, width = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), 1024),
        nn.ReLU(),
        nn.Linear(1024, num_classes),
    )


def mlp(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """A fully connected network with two hidden layers of 256; arguments as of `small_cnn`."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(image_shape), 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, num_classes),
    )


def build_seeded(build: Callable[[], Module], seed: int) -> Module:
    """Build a module whose initial weights depend on the seed alone, without a change to the global random state."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed every CUDA device, whose state is not put back.
        torch.default_generator.manual_seed(seed)
        return build()


def network_builder(
    architecture: str, code: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> NetworkBuilder:
    """Return the function that builds a network.

    Args:
        architecture: a row of the table of classifiers, or a function of a user's own.
        code: the SHA-256 of each file and module of a user's own.
        options: its settings that are not the usual ones: ``width`` and ``depth`` of ours, and those of a package's.

    Raises:
        UserError: the function is not here, its code fails, or it does not take the settings.
    """
    reference = code_reference(architecture)
    if reference is None:
        entry = CLASSIFIERS.entries[architecture]
        build: NetworkBuilder = entry.function()
        if not entry.package:
            return partial(build, **options) if options else build
        return partial(_build_others, entry.title, with_options(build, CLASSIFIERS, architecture, options or {}))
    return partial(_build_others, str(reference), load(reference, code))


def _build_others(name: str, build: Callable[..., object], image_shape: ImageShape, num_classes: int) -> nn.Module:
    try:
        network = build(image_shape, num_classes)
    except RAISED as error:
        raise UserError(
            f"{name} fails when it is called with the image shape {image_shape} and {num_classes} classes: "
            f"{explain(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} must return a torch.nn.Module, not {type(network).__name__}")
    return network


def build_classifier(
    config: ClassifierConfig, task: Task, seed: int = 0, code: Mapping[str, str] | None = None
) -> nn.Module:
    """Return the classifier of a task that a configuration describes, with weights drawn from the seed.

    Args:
        config: what it is.
        task: the shape of its images and the classes.
        seed: of its weights.
        code: see `network_builder`.

    Raises:
        UserError: it is a user's own, and its code is not here or fails.
    """
    build = network_builder(config.architecture, code or {}, config.network_options)
    return build_seeded(lambda: LeadingDimensions(build(task.image_shape, task.num_classes)), seed)
