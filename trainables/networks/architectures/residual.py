"""Residual networks with batch normalisation: a pre-activation ResNet-18 and wide residual networks.

Both take images of any shape in [0, 1], which their first layer normalises: attacks and epsilon stay in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from trainables.common.tasks import ImageShape

# Of the training images of CIFAR-10, as most published networks for it have them; for grey images their means.
_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)


class PixelNormalization(nn.Module):
    """Takes off a mean and divides by a standard deviation, one for each channel; nothing of it is learned or saved."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, values in (("mean", _MEAN), ("std", _STD)):
            of_channels = values if channels == len(values) else [sum(values) / len(values)] * channels
            self.register_buffer(name, torch.tensor(of_channels).view(-1, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise images ``(batch, C, H, W)``, and put channels last, which convolutions are faster with."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def downsample(images: torch.Tensor, shortcut: nn.Conv2d) -> torch.Tensor:
    """Apply a 1x1 convolution; its stride is taken by indexing if there are fewer than 16 channels.

    On a processor the gradient of a strided one is written past its end when channels come last and there are two to
    seven of them (torch 2.13 with oneDNN: "corrupted double-linked list", SIGSEGV). From 16 channels on, the stride
    is faster.
    """
    if shortcut.in_channels < 16:
        step_h, step_w = shortcut.stride
        return nn.functional.conv2d(images[..., ::step_h, ::step_w], shortcut.weight)
    output: torch.Tensor = shortcut(images)
    return output


class PreactivationBlock(nn.Module):
    """Two 3x3 convolutions, each after batch normalisation and ReLU, around which the input is added (He et al. 2016).

    Where the shape changes, a 1x1 convolution of the first activation takes the place of the input.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        is_same = stride == 1 and channels == width
        self.shortcut = None if is_same else nn.Conv2d(channels, width, 1, stride=stride, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Apply the block to ``(batch, channels, H, W)``."""
        active = torch.relu(self.bn1(images))
        shortcut = images if self.shortcut is None else downsample(active, self.shortcut)
        output: torch.Tensor = shortcut + self.conv2(torch.relu(self.bn2(self.conv1(active))))
        return output


def _residual_network(
    image_shape: ImageShape, num_classes: int, stem: int, widths: Sequence[int], num_blocks: int
) -> nn.Sequential:
    """Return a network of stages of blocks; each stage after the first halves the resolution."""
    channels = image_shape[0]
    layers: list[nn.Module] = [PixelNormalization(channels), nn.Conv2d(channels, stem, 3, padding=1, bias=False)]
    before = stem
    for stage, width in enumerate(widths):
        for block in range(num_blocks):
            layers.append(PreactivationBlock(before, width, 2 if stage and not block else 1))
            before = width
    return nn.Sequential(
        *layers,
        nn.BatchNorm2d(before),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(before, num_classes),
    )


def preact_resnet18(image_shape: ImageShape, num_classes: int, width: int = 64) -> nn.Module:
    """Pre-activation ResNet-18 for small images: 11.2 million parameters (He et al. 2016; as in Wong et al. 2020).

    Args:
        image_shape: channels, height and width.
        num_classes: how many logits there are.
        width: channels of the first of four stages, each of which has twice those of the one before. The number of
            parameters and operations grows with its square.
    """
    return _residual_network(image_shape, num_classes, width, [width, 2 * width, 4 * width, 8 * width], 2)


def wide_resnet_28_10(image_shape: ImageShape, num_classes: int, width: int = 160, depth: int = 28) -> nn.Module:
    """Wide residual network WRN-28-10: 36.5 million parameters (Zagoruyko and Komodakis 2016).

    Args:
        image_shape: channels, height and width.
        num_classes: how many logits there are.
        width: channels of the first of three stages: 16 times the widening factor, 10 by default.
        depth: number of convolutions in a row, 6n + 4 for n blocks in each stage.
    """
    network = _residual_network(image_shape, num_classes, 16, [width, 2 * width, 4 * width], (depth - 4) // 6)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
