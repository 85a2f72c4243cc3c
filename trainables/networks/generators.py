"""Generator networks: images and what else they see ``(..., channels, 28, 28)`` to outputs ``(..., 1, 28, 28)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from trainables.config import GeneratorConfig
from trainables.networks.classifiers import NUM_CLASSES, LeadingDimensions, _seeded


def strided(channels: int, width: int) -> nn.Sequential:
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


def space_to_depth(channels: int, width: int) -> nn.Sequential:
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


class _ChannelsLast(nn.Module):
    """Lays images out pixel by pixel: at full resolution narrow convolutions run in half the time on a CPU."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.contiguous(memory_format=torch.channels_last)


class _Residual(nn.Module):
    """A block that adds its output to its input."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = images + self.block(images)
        return output


def residual(channels: int, width: int) -> nn.Sequential:
    """Two residual blocks at full resolution; a quarter of the width, because a convolution costs 16 times as much."""
    narrow = width // 4 or 1
    blocks = [
        _Residual(
            nn.Sequential(
                nn.ReLU(), nn.Conv2d(narrow, narrow, 3, padding=1), nn.ReLU(), nn.Conv2d(narrow, narrow, 3, padding=1)
            )
        )
        for _ in range(2)
    ]
    return nn.Sequential(
        _ChannelsLast(),
        nn.Conv2d(channels, narrow, 3, padding=1),
        *blocks,
        nn.ReLU(),
        nn.Conv2d(narrow, 1, 3, padding=1),
    )


class _Conditioned(nn.Module):
    """A body that also sees numbers of the whole image, such as its label.

    Each number is a constant plane. A convolution makes of those one number per output channel, so that is what is
    computed and added to the first convolution's output: planes would cost more than all the rest.
    """

    def __init__(self, body: nn.Sequential, num_numbers: int) -> None:
        super().__init__()
        first = next(index for index, layer in enumerate(body) if isinstance(layer, nn.Conv2d))
        self.stem, self.rest = body[: first + 1], body[first + 1 :]
        self.planes = nn.Linear(num_numbers, cast(nn.Conv2d, body[first]).out_channels, bias=False)

    def forward(self, seen: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.rest(self.stem(seen) + self.planes(numbers)[..., None, None])
        return output


class Generator(nn.Module):
    """Maps what it sees of an image to a perturbation in (-1, 1), to be scaled by the bound.

    A fresh body's output is nearly nothing, and tanh of it too; a ``scale`` of about 5 starts it near the ends.
    """

    def __init__(self, body: nn.Sequential, num_numbers: int, scale: float) -> None:
        super().__init__()
        self.body = LeadingDimensions(_Conditioned(body, num_numbers) if num_numbers else body)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, seen: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        """Return tanh(scale * body(seen)): ``(..., channels, 28, 28) -> (..., 1, 28, 28)``.

        Args:
            seen: the image and whatever else has a value for each pixel.
            numbers: what has one for the whole image: a tensor ``(..., num_numbers)`` if there are any.
        """
        return torch.tanh(self.scale * self.body(seen, *numbers))


GENERATOR_BODIES: dict[str, Callable[[int, int], nn.Sequential]] = {
    "space_to_depth": space_to_depth,
    "strided": strided,
    "residual": residual,
}


def build_generator(config: GeneratorConfig, seed: int = 0) -> Generator:
    """Return the generator that a configuration describes, with weights drawn from the seed."""
    channels = 1 + (config.image_gradient != "none") + config.see_perturbation
    num_numbers = NUM_CLASSES * config.see_label + config.noise
    body = GENERATOR_BODIES[config.body]
    return _seeded(lambda: Generator(body(channels, config.width), num_numbers, config.output_scale), seed)
