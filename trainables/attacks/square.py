"""Square attack (Andriushchenko et al. 2020): a random search over squares of pixels that uses no gradient."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator

import torch

from trainables.attacks.gradient import drops_images
from trainables.attacks.losses import Epsilon, LogitsFn, is_correct, margin

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After how many of 10,000 queries the share of the pixels in a square is halved."""

DROPPED_EVERY = 64
"""After how many queries misclassified images are left out where the host would have to wait for the device."""


@torch.no_grad()
def square(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    queries: int,
    rng: torch.Generator,
    start: torch.Tensor | None = None,
    p: float = 0.8,
    drops: bool | None = None,
) -> torch.Tensor:
    """Return each image at the first point where it is misclassified, or else at the point of the largest margin.

    The search starts with random vertical stripes of -epsilon and +epsilon. Every query then sets one random square of
    pixels to one end of their range in each channel, and keeps the change if the margin grows. An image that is
    misclassified before the search is returned as it is there.

    Args:
        logits_fn: maps images to logits ``(batch, classes)``; it is called without gradients.
        images: ``(batch, C, H, W)`` in [0, 1].
        labels: the true classes ``(batch,)``.
        epsilon: the radius in pixels of [0, 1].
        queries: how many squares are tried on each image.
        rng: draws stripes and squares, on the device of the images.
        start: where the search starts instead, within epsilon of the images; shaped like them.
        p: share of the pixels in the first squares. The published schedule by which it shrinks over 10,000 queries is
            scaled to ``queries``.
        drops: whether to leave out images as soon as they are misclassified, or never; by default on a CPU as soon as
            they are, see `gradient.drops_images`, and otherwise now and then.
    """
    result = (images if start is None else start).clone()
    logits = logits_fn(result)
    survives = is_correct(logits, labels)
    every = 1 if (drops_images(images) if drops is None else drops) else DROPPED_EVERY if drops is None else None
    index = torch.arange(len(images), device=images.device) if every is None else survives.nonzero().squeeze(-1)
    clean, current, survives = images[index].flatten(1), result[index].flatten(1), survives[index]
    highest = margin(logits, labels)[index] if start is not None else torch.full_like(logits[index, 0], -torch.inf)
    proposals = _proposals(len(images), images.shape[1:], queries, p, rng)
    if start is not None:
        next(proposals)  # the stripes
    for number, (positions, signs) in enumerate(proposals, start=1):
        if not len(index):
            break
        pixels = positions[index]
        before, after = current.gather(1, pixels), (clean.gather(1, pixels) + epsilon * signs[index]).clamp_(0.0, 1.0)
        current.scatter_(1, pixels, after)
        logits = logits_fn(current.view(-1, *images.shape[1:]))
        loss = margin(logits, labels[index])
        is_correct_now = is_correct(logits, labels[index])
        is_kept = ~survives | (is_correct_now & (loss <= highest))
        current.scatter_(1, pixels, torch.where(is_kept.unsqueeze(1), before, after))
        highest = torch.maximum(loss, highest)
        survives &= is_correct_now
        if every is not None and number % every == 0 and not survives.all():
            result[index[~survives]] = current[~survives].view(-1, *images.shape[1:])
            index, clean, current, highest = (tensor[survives] for tensor in (index, clean, current, highest))
            survives = torch.ones_like(index, dtype=torch.bool)
    result[index] = current.view(-1, *images.shape[1:])
    return result


def _proposals(
    num_images: int, shape: tuple[int, ...], queries: int, p: float, rng: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield positions in images ``(batch, n)`` and their directions, -1 or 1: first the stripes, then the squares.

    They are drawn for all images, misclassified or not, so that an image's proposals do not depend on the others.
    """
    channels, height, width = shape
    stripes = _signs(num_images, channels, rng, width).unsqueeze(2).expand(-1, -1, height, -1)
    yield _corner(shape, height, width, rng.device).expand(num_images, -1), stripes.flatten(1)
    square_side, square = 0, torch.empty(0)
    for query in range(queries):
        share = p * 0.5 ** bisect_left(HALVED_AFTER, query * 10000 // queries)
        side = min(max(round(math.sqrt(share) * math.sqrt(height * width)), 1), height, width)
        top, left = _offsets(num_images, (height - side + 1, width - side + 1), rng)
        if side != square_side:  # a few times in a search
            square_side, square = side, _corner(shape, side, side, rng.device)
        signs = _signs(num_images, channels, rng, 1).expand(-1, -1, side * side)
        yield top * width + left + square, signs.flatten(1)


def _corner(shape: tuple[int, ...], height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return the positions, in the flattened image, of a rectangle in the upper left corner, in every channel."""
    channels, rows, columns = shape
    plane, row, column = (torch.arange(size, device=device) for size in (channels, height, width))
    return (plane[:, None, None] * (rows * columns) + row[:, None] * columns + column).flatten()


def _offsets(num_images: int, sizes: tuple[int, int], rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random rows and columns ``(batch, 1)`` below their numbers."""
    rows, columns = sizes
    if rows == columns:
        top, left = torch.randint(rows, (2, num_images, 1), generator=rng, device=rng.device)
        return top, left
    top = torch.randint(rows, (num_images, 1), generator=rng, device=rng.device)
    return top, torch.randint(columns, (num_images, 1), generator=rng, device=rng.device)


def _signs(num_images: int, channels: int, rng: torch.Generator, width: int) -> torch.Tensor:
    """Return random signs ``(batch, channels, width)``."""
    return 2.0 * torch.randint(2, (num_images, channels, width), generator=rng, device=rng.device) - 1.0
