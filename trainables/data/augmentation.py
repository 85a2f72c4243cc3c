"""Random crops and flips of training images, on the device that they are on; each is drawn for each image."""

from __future__ import annotations

import torch
from torch.nn import functional

from trainables.config import AugmentationConfig


def augment(images: torch.Tensor, settings: AugmentationConfig, seed: int) -> torch.Tensor:
    """Return images that are shifted and flipped at random.

    Args:
        images: ``(batch, C, H, W)``.
        settings: by how much, and whether they are flipped.
        seed: of what is drawn: the same one gives the same images again.
    """
    rng = torch.Generator(device=images.device).manual_seed(seed)
    if settings.crop:
        images = _crop(images, settings.crop, rng)
    if settings.flip:
        is_flipped = torch.rand(len(images), 1, 1, 1, generator=rng, device=images.device) < 0.5
        images = torch.where(is_flipped, images.flip(-1), images)
    return images


def _crop(images: torch.Tensor, most: int, rng: torch.Generator) -> torch.Tensor:
    """Return images shifted by up to so many pixels each way; black comes in at the edges."""
    batch, channels, height, width = images.shape
    top, left = torch.randint(2 * most + 1, (2, batch, 1), generator=rng, device=images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    padded = functional.pad(images, (most, most, most, most))
    each = torch.arange(batch, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[each, channel, rows[:, None, :, None], columns[:, None, None, :]]
