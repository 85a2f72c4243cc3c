"""Attacks made of several: what one of them finds is where the next one starts."""

from __future__ import annotations

import torch

from trainables.attacks.apgd import apgd, apgd_targeted
from trainables.attacks.gradient import drops_images, per_image
from trainables.attacks.losses import Epsilon, LogitsFn, is_correct, margin
from trainables.attacks.square import square
from trainables.attacks.square_l2 import square_l2
from trainables.common.tasks import Norm

_MIN_CLASSES = 4  # the loss of targeted APGD compares the four largest logits


def apgd_square(  # noqa: PLR0913 - all that such an attack can be told
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    steps: int,
    queries: int,
    nearest: int,
    targets: int = 0,
    rng: torch.Generator,
    drops: bool | None = None,
    norm: Norm = "linf",
) -> torch.Tensor:
    """Run APGD, then targeted APGD and Square on the images that are nearest to another label.

    APGD increases the margin, and Square starts from the points that it has found.

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
        nearest: on how many images the search goes on: those of the largest margin that APGD left correct.
        targets: towards how many wrong labels targeted APGD then goes, with half of the steps towards each; none where
            there are less than four classes.
        rng: draws all random numbers, on the device of the images.
        drops: whether to leave out misclassified images; see `gradient.drops_images` for the default.
        norm: of the ball, ``linf`` or ``l2``.
    """
    found = apgd(logits_fn, images, labels, epsilon, steps=steps, loss=margin, rng=rng, drops=drops, norm=norm)
    with torch.no_grad():
        logits = logits_fn(found)
    right, num_targets = is_correct(logits, labels), min(targets, logits.shape[-1] - 1)
    margins = margin(logits, labels).masked_fill(~right, -torch.inf)
    index = margins.topk(min(nearest, len(images))).indices
    drops = drops_images(images) if drops is None else drops
    near, of_near, start = images[index], labels[index], found[index]
    if num_targets and logits.shape[-1] >= _MIN_CLASSES:
        how = {"steps": steps // 2, "num_targets": num_targets}
        targeted = apgd_targeted(logits_fn, near, of_near, epsilon, **how, rng=rng, drops=drops, norm=norm)
        with torch.no_grad():
            fooled = right[index] & ~is_correct(logits_fn(targeted), of_near)
        start = torch.where(per_image(fooled), targeted, start)
    search = square if norm == "linf" else square_l2
    found[index] = search(logits_fn, near, of_near, epsilon, queries=queries, rng=rng, start=start, drops=drops)
    return found
