"""Networks: classifiers ``(..., 1, 28, 28) -> (..., 10)``, generators ``(..., channels, 28, 28) -> (..., 1, 28, 28)``.

Adding one is a function that returns a module, and a row in the table at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from trainables.config import ClassifierConfig, GeneratorConfig

Module = TypeVar("Module", bound=nn.Module)

NUM_CLASSES = 10
IMAGE_SHAPE = (1, 28, 28)
# A fresh generator's tanh is nearly linear and its perturbation nearly nothing; this scale starts it near +-bound.
_OUTPUT_SCALE = 5.0


class LeadingDimensions(nn.Module):
    """Lets a network of ``(batch, ...)`` images take any number of leading dimensions, none included."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Apply the network to images ``(..., channels, height, width)``."""
        output: torch.Tensor = self.body(images.reshape(-1, *images.shape[-3:]))
        return output.reshape(*images.shape[:-3], *output.shape[1:])


def small_cnn() -> nn.Module:
    """Two strided convolutions and a hidden layer, 166 k parameters (the small net of Wong et al. 2020)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100),
        nn.ReLU(),
        nn.Linear(100, NUM_CLASSES),
    )


def madry_cnn() -> nn.Module:
    """Two pooled 5x5 convolutions and a hidden layer of 1,024 (Madry et al. 2018)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 1024),
        nn.ReLU(),
        nn.Linear(1024, NUM_CLASSES),
    )


def mlp() -> nn.Module:
    """Two hidden layers of 256."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(IMAGE_SHAPE), 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, NUM_CLASSES),
    )


def strided(channels: int, width: int) -> nn.Module:
    """Strided encoder-decoder: half, then quarter resolution, and back."""
    return nn.Sequential(
        nn.Conv2d(channels, width // 2 or 1, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width // 2 or 1, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width // 2 or 1, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width // 2 or 1, 1, 4, stride=2, padding=1),
    )


def space_to_depth(channels: int, width: int) -> nn.Module:
    """Blocks of 4x4 pixels become channels at 7x7, where 3x3 convolutions are cheap."""
    return nn.Sequential(
        nn.PixelUnshuffle(4),
        nn.Conv2d(16 * channels, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 16, 3, padding=1),
        nn.PixelShuffle(4),
    )


class Generator(nn.Module):
    """Maps what it sees of an image to a perturbation in (-1, 1), to be scaled by the bound."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = LeadingDimensions(body)
        self.scale = nn.Parameter(torch.tensor(_OUTPUT_SCALE))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Return tanh(scale * body(seen)): ``(..., channels, 28, 28) -> (..., 1, 28, 28)``."""
        return torch.tanh(self.scale * self.body(seen))


CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {"small_cnn": small_cnn, "madry_cnn": madry_cnn, "mlp": mlp}
GENERATOR_BODIES: dict[str, Callable[[int, int], nn.Module]] = {"space_to_depth": space_to_depth, "strided": strided}


def _seeded(build: Callable[[], Module], seed: int) -> Module:
    """Build a module whose initial weights depend on the seed alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed every CUDA device, whose state is not put back.
        torch.default_generator.manual_seed(seed)
        return build()


def build_classifier(config: ClassifierConfig, seed: int = 0) -> nn.Module:
    """Return the classifier that a configuration describes, with weights drawn from the seed."""
    return _seeded(lambda: LeadingDimensions(CLASSIFIERS[config.architecture]()), seed)


def build_generator(config: GeneratorConfig, seed: int = 0) -> Generator:
    """Return the generator that a configuration describes, with weights drawn from the seed."""
    channels = 1 if config.image_gradient == "none" else 2
    return _seeded(lambda: Generator(GENERATOR_BODIES[config.body](channels, config.width)), seed)
