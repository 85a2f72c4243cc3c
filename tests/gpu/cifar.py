"""Speed of PGD-10 training of a ResNet-18 with pre-activation on synthetic images of the size of CIFAR-10's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tests.gpu.measuring import Rows, numbers, time_ms
from trainables.attacks.gradient import pgd
from trainables.attacks.losses import cross_entropy

STEPS, EPSILON = 10, 8 / 255


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(width)
        self.first = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False) if channels != width or stride > 1 else None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        active = functional.relu(self.first_norm(images))
        output: torch.Tensor = self.second(functional.relu(self.second_norm(self.first(active))))
        return output + (images if self.shortcut is None else self.shortcut(active))


def preact_resnet18() -> nn.Module:
    """Return the network of He et al. 2016 for images of 32 x 32, 11.2 million parameters."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False)]
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [_Block(channels, width, stride), _Block(width, width, 1)]
        channels = width
    return nn.Sequential(
        *layers, nn.BatchNorm2d(512), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)
    )


def measure(rows: Rows, _dataset: object) -> None:
    torch.backends.cudnn.benchmark = True
    for fmt, batch_size, last in (
        ("bf16", 512, True),
        ("bf16", 128, True),
        ("bf16", 1024, True),
        ("tf32", 512, True),
        ("bf16", 512, False),
        ("fp32", 512, False),
    ):
        what = f"{fmt}, batch {batch_size}, {'channels_last' if last else 'contiguous'}"
        rows.attempt(what, lambda fmt=fmt, size=batch_size, last=last: _speed(fmt, size, last), needs_s=4)


def _speed(fmt: str, batch_size: int, last: bool) -> dict[str, Any]:
    torch.cuda.reset_peak_memory_stats()
    net = preact_resnet18().cuda()
    net = net.to(memory_format=torch.channels_last) if last else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True)
    rng = torch.Generator("cuda").manual_seed(0)
    images = torch.rand(batch_size, 3, 32, 32, device="cuda", generator=rng)
    images = images.contiguous(memory_format=torch.channels_last) if last else images
    labels = torch.randint(10, (batch_size,), device="cuda", generator=rng)

    def update() -> None:
        net.eval()
        found = pgd(lambda x: net(x).float(), images, labels, EPSILON, steps=STEPS, step_size=2 / 255, rng=rng)
        net.train()
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(net(found).float(), labels).mean().backward()
        optimizer.step()

    with numbers(fmt):
        ms = time_ms(update, seconds=1.0, warm_up=2)
    return {
        "images_per_s": 1e3 * batch_size / ms,
        "ms": ms,
        "epoch_s": 50 * ms / batch_size,
        "gb": torch.cuda.max_memory_allocated() / 1e9,
    }
