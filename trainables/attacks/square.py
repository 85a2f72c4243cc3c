"""Square attack (Andriushchenko et al. 2020): random squares, kept where they help. It needs no gradient."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator

import torch

from trainables.attacks.gradient import aim_of, still_correct
from trainables.attacks.losses import Epsilon, LogitsFn, margin

_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 queries: when the share of the pixels in a square is halved."""


@torch.no_grad()
def square(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    queries: int,
    rng: torch.Generator,
    p: float = 0.8,
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return for each image the point where it fell, or the one of the highest margin if it never did.

    The search begins with vertical stripes at the ends of the ball, and every query sets one random square of pixels
    to one end. ``p`` is the share of the pixels in the first squares; its published schedule is stretched to the number
    of queries. Images ``(batch, 1, 28, 28)``; one that is wrong from the beginning is returned as it is.
    """
    aim, direction = aim_of(labels, targets)
    is_correct = still_correct(labels, targets)
    found = images.clone()
    index = torch.arange(len(images), device=images.device)
    index = index[is_correct(logits_fn(images), index)]
    clean, current = images[index].flatten(1), images[index].flatten(1)
    highest = torch.full((len(index),), -torch.inf, dtype=images.dtype, device=images.device)
    for places, signs in _proposals(len(images), images.shape[-1], queries, p, rng):
        if not len(index):
            break
        pixels = places[index]
        before, after = current.gather(1, pixels), (clean.gather(1, pixels) + epsilon * signs[index]).clamp_(0.0, 1.0)
        current.scatter_(1, pixels, after)
        logits = logits_fn(current.view(-1, *images.shape[1:]))
        still = is_correct(logits, index)
        loss = direction * margin(logits, aim[index])
        is_worse = still & (loss <= highest)
        current.scatter_(1, pixels, torch.where(is_worse.unsqueeze(1), before, after))
        highest = torch.maximum(loss, highest)
        if not still.all():
            found[index[~still]] = current[~still].view(-1, *images.shape[1:])
            index, clean, current, highest = (some[still] for some in (index, clean, current, highest))
    found[index] = current.view(-1, *images.shape[1:])
    return found


def _proposals(
    num_images: int, width: int, queries: int, p: float, rng: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield pixels ``(batch, pixels)`` and whether they go up or down, +-1: first the stripes, then the squares.

    Drawn for all images, fallen or not, so that what an image meets does not depend on the others.
    """
    yield _corner(width, width, rng.device).expand(num_images, -1), _signs(num_images, width, rng).repeat(1, width)
    for query in range(queries):
        share = p * 0.5 ** bisect_left(_HALVED_AFTER, query * 10000 // queries)
        side = max(round(math.sqrt(share) * width), 1)
        top, left = torch.randint(width - side + 1, (2, num_images, 1), generator=rng, device=rng.device)
        yield top * width + left + _corner(side, width, rng.device), _signs(num_images, 1, rng)


def _corner(side: int, width: int, device: torch.device) -> torch.Tensor:
    """Return the pixels of the square in the upper left corner, as positions in the flat image."""
    line = torch.arange(side, device=device)
    return (line.unsqueeze(1) * width + line).flatten()


def _signs(num_images: int, width: int, rng: torch.Generator) -> torch.Tensor:
    return 2.0 * torch.randint(2, (num_images, width), generator=rng, device=rng.device) - 1.0
