"""Attacks made of several: what one of them finds is where the next one starts."""

from __future__ import annotations

import torch

from trainables.attacks.apgd import apgd
from trainables.attacks.gradient import drops_images
from trainables.attacks.losses import Epsilon, LogitsFn, Loss, is_correct, margin
from trainables.attacks.square import square


def apgd_square(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    steps: int,
    queries: int,
    nearest: int,
    loss: Loss = margin,
    rng: torch.Generator,
    drops: bool | None = None,
) -> torch.Tensor:
    """Run APGD, then Square on the images that are nearest to another label, from the points that APGD has found.

    Square finds adversarial images that no gradient leads to, but takes thousands of queries from its own start. From
    the points of APGD it takes hundreds, and the images that it can fool are among those of the largest margin.

    An image that is misclassified without an attack is returned unchanged.

    Args:
        logits_fn: maps images to logits ``(batch, classes)``.
        images: ``(batch, C, H, W)`` in [0, 1].
        labels: the true classes ``(batch,)``.
        epsilon: the radius in pixels of [0, 1].
        steps: of APGD.
        queries: of Square on each image.
        nearest: on how many images Square goes on: those of the largest margin that APGD left correct.
        loss: what APGD increases.
        rng: draws all random numbers, on the device of the images.
        drops: whether to leave out misclassified images; see `gradient.drops_images` for the default.
    """
    found = apgd(logits_fn, images, labels, epsilon, steps=steps, loss=loss, rng=rng, drops=drops)
    with torch.no_grad():
        logits = logits_fn(found)
    margins = margin(logits, labels).masked_fill(~is_correct(logits, labels), -torch.inf)
    index = margins.topk(min(nearest, len(images))).indices
    drops = drops_images(images) if drops is None else drops
    found[index] = square(
        logits_fn, images[index], labels[index], epsilon, queries=queries, rng=rng, start=found[index], drops=drops
    )
    return found
