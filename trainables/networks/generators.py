"""Generator networks: from images and other input channels to perturbations of the shape of the images."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from trainables.common.tasks import Task
from trainables.config import GeneratorConfig
from trainables.config.plugins.registries import GENERATORS
from trainables.networks.classifiers import LeadingDimensions, build_seeded

_MULTIPLE = 4
"""The sides of what a body takes are multiples of this."""


def strided(channels: int, width: int, out_channels: int) -> nn.Sequential:
    """Return a strided encoder-decoder: down to half, then quarter resolution, and back."""
    return nn.Sequential(
        nn.Conv2d(channels, width // 2 or 1, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width // 2 or 1, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width // 2 or 1, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width // 2 or 1, out_channels, 4, stride=2, padding=1),
    )


def space_to_depth(channels: int, width: int, out_channels: int) -> nn.Sequential:
    """Return a body that turns blocks of 4x4 pixels into channels, for cheap 3x3 convolutions, and back."""
    return nn.Sequential(
        nn.PixelUnshuffle(4),
        nn.Conv2d(16 * channels, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 16 * out_channels, 3, padding=1),
        nn.PixelShuffle(4),
    )


class _ChannelsLast(nn.Module):
    """Changes the memory format: on a CPU, narrow convolutions at full resolution take half the time in this one."""

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


def residual(channels: int, width: int, out_channels: int) -> nn.Sequential:
    """Return two residual blocks at full resolution.

    They have a quarter of the width, because a convolution costs 16 times as much as at a quarter of the resolution.
    """
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
        nn.Conv2d(narrow, out_channels, 3, padding=1),
    )


class _Conditioned(nn.Module):
    """A body that also takes a vector for each image, such as its label.

    Each number of the vector acts as a constant input channel. A convolution maps constant channels to one number per
    output channel, so a linear layer computes that number, which is added to the first convolution's output. Actual
    channels would cost more than the rest of the network.
    """

    def __init__(self, body: nn.Sequential, num_numbers: int) -> None:
        super().__init__()
        first = next(index for index, layer in enumerate(body) if isinstance(layer, nn.Conv2d))
        self.stem, self.rest = body[: first + 1], body[first + 1 :]
        self.planes = nn.Linear(num_numbers, cast(nn.Conv2d, body[first]).out_channels, bias=False)

    def forward(self, channels: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.rest(self.stem(channels) + self.planes(numbers)[..., None, None])
        return output


class Generator(nn.Module):
    """A network from an image and other inputs to a perturbation in (-1, 1), which the caller scales by its bound.

    Attributes:
        num_classes: how many labels there are, of which one may be an input.
    """

    def __init__(self, body: nn.Module, num_classes: int, scale: float) -> None:
        """Wrap a body.

        Args:
            body: from ``(batch, C, H, W)``, and perhaps a vector for each image, to
                ``(batch, image C, H, W)``.
            num_classes: how many labels there are.
            scale: initial value of a learned factor. The output of a body with fresh weights is near 0; a factor of
                about 5 brings its tanh near -1 and 1.
        """
        super().__init__()
        self.num_classes = num_classes
        self.body = LeadingDimensions(body)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, channels: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        """Return tanh of `pre_activation`, which takes the same arguments."""
        return torch.tanh(self.pre_activation(channels, *numbers))

    def pre_activation(self, channels: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        """Return scale * body(channels), shaped like the images.

        Args:
            channels: the image and the other inputs with a value per pixel.
            numbers: one tensor ``(..., numbers)``, or nothing if the body takes none.
        """
        output: torch.Tensor = self.scale * self.body(channels, *numbers)
        return output


class _Padded(nn.Module):
    """A body for images whose sides are no multiples of four: zeros are added below and on the right, and cut off."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, channels: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        height, width = channels.shape[-2:]
        output: torch.Tensor = self.body(
            functional.pad(channels, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)), *numbers
        )
        return output[..., :height, :width]


def _build(config: GeneratorConfig, task: Task) -> Generator:
    image_channels, *sides = task.image_shape
    channels = image_channels * (1 + (config.image_gradient != "none") + config.see_perturbation)
    num_numbers = task.num_classes * config.see_label + config.noise
    plain: nn.Sequential = GENERATORS[config.body](channels, config.width, image_channels)
    body = _Conditioned(plain, num_numbers) if num_numbers else plain
    if any(side % _MULTIPLE for side in sides):
        return Generator(_Padded(body), task.num_classes, config.output_scale)
    return Generator(body, task.num_classes, config.output_scale)


def build_generator(config: GeneratorConfig, task: Task, seed: int = 0) -> Generator:
    """Return the generator of a task that a configuration describes, with weights drawn from the seed."""
    return build_seeded(lambda: _build(config, task), seed)
