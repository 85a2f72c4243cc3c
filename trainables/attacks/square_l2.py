"""Square attack in the L2 ball (Andriushchenko et al. 2020): a random search that moves length between windows."""

from __future__ import annotations

import math
from bisect import bisect_left

import torch

from trainables.attacks.gradient import drops_images, per_image
from trainables.attacks.losses import Epsilon, LogitsFn, is_correct, margin
from trainables.attacks.norms import TINY, length, unit
from trainables.attacks.square import DROPPED_EVERY, HALVED_AFTER

_SMALLEST_SIDE = 3


@torch.no_grad()
def square_l2(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    queries: int,
    rng: torch.Generator,
    start: torch.Tensor | None = None,
    p: float = 0.1,
    drops: bool | None = None,
) -> torch.Tensor:
    """Return each image at the first point where it is misclassified, or else at the point of the largest margin.

    The search starts with a grid of bumps, each rising on one side and falling on the other. Every query takes what one
    window has of the perturbation's length, and what the whole has not used, to another window, where it adds a bump;
    the change is kept if the margin grows. An image that is misclassified before the search is returned as it is there.

    Args:
        logits_fn: maps images to logits ``(batch, classes)``; it is called without gradients.
        images: ``(batch, C, H, W)`` in [0, 1].
        labels: the true classes ``(batch,)``.
        epsilon: the L2 radius in pixels of [0, 1].
        queries: how many windows are tried.
        rng: draws signs and windows, on the device of the images.
        start: where the search starts instead, within epsilon of the images; shaped like them.
        p: share of the pixels in the first windows; see `square.square`.
        drops: see `square.square`.
    """
    result = (images if start is None else start).clone()
    logits = logits_fn(result)
    survives = is_correct(logits, labels)
    every = 1 if (drops_images(images) if drops is None else drops) else DROPPED_EVERY if drops is None else None
    index = torch.arange(len(images), device=images.device) if every is None else survives.nonzero().squeeze(-1)
    grid = _grid(images, rng)
    clean, current, survives = images[index], result[index], survives[index]
    highest = margin(logits, labels)[index]
    if start is None:
        current = _within(clean, grid[index], epsilon)
        logits = logits_fn(current)
        highest, correct = margin(logits, labels[index]), is_correct(logits, labels[index])
        current = torch.where(per_image(survives), current, clean)
        survives = survives & correct
    for query in range(queries):
        if not len(index):
            break
        side = _side(query, queries, p, images.shape)
        candidate = _within(clean, _moved(current - clean, epsilon, side, rng, index, images), epsilon)
        logits = logits_fn(candidate)
        loss, correct = margin(logits, labels[index]), is_correct(logits, labels[index])
        is_better = per_image(survives & (~correct | (loss > highest)))
        current = torch.where(is_better, candidate, current)
        highest = torch.maximum(loss, highest)
        survives = survives & correct
        if every is not None and (query + 1) % every == 0 and not survives.all():
            result[index[~survives]] = current[~survives]
            index, clean, current, highest = (tensor[survives] for tensor in (index, clean, current, highest))
            survives = torch.ones_like(index, dtype=torch.bool)
    result[index] = current
    return result


def _within(clean: torch.Tensor, perturbation: torch.Tensor, epsilon: Epsilon) -> torch.Tensor:
    return (clean + unit(perturbation) * epsilon).clamp(0.0, 1.0)


def _side(query: int, queries: int, p: float, shape: torch.Size) -> int:
    """Return the side of the windows of a query, an odd number."""
    share = p * 0.5 ** bisect_left(HALVED_AFTER, query * 10000 // queries)
    height, width = shape[-2:]
    side = max(round(math.sqrt(share * height * width)), _SMALLEST_SIDE)
    return min(side + 1 - side % 2, height - 1 + height % 2, width - 1 + width % 2)


def _moved(
    perturbation: torch.Tensor,
    epsilon: Epsilon,
    side: int,
    rng: torch.Generator,
    index: torch.Tensor,
    images: torch.Tensor,
) -> torch.Tensor:
    """Return perturbations with the length of one window moved to another, and a bump added there.

    Their length is measured after clipping to [0, 1], so that what clipping has taken is spent elsewhere.

    Windows are those of all images, and signs are drawn for all, so that an image's do not depend on the others.
    """
    num_images, channels, height, width = images.shape
    (top, left), (other_top, other_left) = (
        [int(torch.randint(size - side + 1, (), generator=rng, device=rng.device)) for size in (height, width)]
        for _ in range(2)
    )
    bump = _bump(side, rng, images) * _signs((num_images, channels, 1, 1), rng, images)[index]
    window = (..., slice(top, top + side), slice(left, left + side))
    source = (..., slice(other_top, other_top + side), slice(other_left, other_left + side))
    in_either = torch.zeros_like(perturbation[:1, :1])
    in_either[window] = in_either[source] = 1.0
    unused = (epsilon**2 - length(perturbation).square()).clamp_min(0.0)
    available = (unused / channels + (perturbation * in_either).square().sum((-2, -1), keepdim=True)).sqrt()
    old = perturbation[window]
    shape = bump + old / _length_of_channels(old).clamp_min(TINY)
    moved = perturbation.clone()
    moved[source] = 0.0
    moved[window] = shape / _length_of_channels(shape).clamp_min(TINY) * available
    return moved


def _length_of_channels(values: torch.Tensor) -> torch.Tensor:
    return values.square().sum((-2, -1), keepdim=True).sqrt()


def _grid(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return bumps side by side over each image, with a random sign for each of them and each channel."""
    num_images, channels, height, width = images.shape
    side = max(min(height, width) // 5, 1)
    grid = torch.zeros_like(images)
    for top in range((height % side) // 2, height - side + 1, side):
        for left in range((width % side) // 2, width - side + 1, side):
            bumps = _bump(side, rng, images) * _signs((num_images, channels, 1, 1), rng, images)
            grid[..., top : top + side, left : left + side] += bumps
    return grid


def _signs(shape: tuple[int, ...], rng: torch.Generator, images: torch.Tensor) -> torch.Tensor:
    return 2.0 * torch.randint(2, shape, generator=rng, device=rng.device).to(images.dtype) - 1.0


def _bump(side: int, rng: torch.Generator, images: torch.Tensor) -> torch.Tensor:
    """Return a window ``(side, side)`` of length 1, upright or lying: one half rises to a peak, the other falls."""
    half = side // 2
    rows = [_peak(half, side)] if half else []
    bump = torch.cat([*rows, -_peak(side - half, side)]).to(images.device, images.dtype)
    bump = bump / bump.square().sum().sqrt()
    return bump.T if int(torch.randint(2, (), generator=rng, device=rng.device)) else bump


def _peak(height: int, width: int) -> torch.Tensor:
    """Return nested rectangles ``(height, width)``, of which the n-th outwards from the middle adds 1 / n squared."""
    peak = torch.zeros(height, width)
    top, left = height // 2, width // 2
    for ring in range(max(top, left) + 1):
        rows = slice(max(top - ring, 0), min(top + ring + 1, height))
        peak[rows, max(left - ring, 0) : min(left + ring + 1, width)] += 1.0 / (ring + 1) ** 2
    return peak / peak.square().sum().sqrt()
