"""The norms that bound a perturbation: L-infinity, the largest change of a pixel, and L2, the length of all changes."""

from __future__ import annotations

import math

import torch

from trainables.common.tasks import ImageShape, Norm

TINY = 1e-12
"""Divisors are at least this: a gradient of zero has no direction, and stays zero."""


def length(values: torch.Tensor) -> torch.Tensor:
    """Return the L2 norm of each of ``(..., C, H, W)``, as ``(..., 1, 1, 1)``."""
    return values.square().sum((-3, -2, -1), keepdim=True).sqrt()


def unit(values: torch.Tensor) -> torch.Tensor:
    """Return each of ``(..., C, H, W)`` at an L2 norm of 1, whatever its size; zero stays zero."""
    # Scaled first, since the square of a small gradient underflows, as that of a confident network does.
    scaled = values / values.abs().amax((-3, -2, -1), keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    return scaled / length(scaled).clamp_min(TINY)


def steepest(gradient: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return the direction of length 1 in a norm in which a loss rises most: the gradient's signs, or its direction."""
    return gradient.sign() if norm == "linf" else unit(gradient)


def clip_length(perturbation: torch.Tensor, radius: float | torch.Tensor) -> torch.Tensor:
    """Return perturbations ``(..., C, H, W)``, those that are longer than the radius shortened to it."""
    return perturbation * (radius / length(perturbation).clamp_min(TINY)).clamp_max(1.0)


def random_in_ball(images: torch.Tensor, radius: float | torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return a uniformly random point of the L2 ball around zero for each image, shaped like the images."""
    direction = unit(torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype))
    share = torch.rand(images.shape[:-3], generator=rng, device=images.device, dtype=images.dtype)
    num_pixels = math.prod(images.shape[-3:])
    return direction * (share ** (1.0 / num_pixels))[..., None, None, None] * radius


def largest_distance(image_shape: ImageShape, norm: Norm) -> float:
    """Return how far any image is at most from plain grey: within it no network can be better than chance."""
    channels, height, width = image_shape
    return 0.5 if norm == "linf" else 0.5 * (channels * height * width) ** 0.5
