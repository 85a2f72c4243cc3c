"""Accuracy, clean and under attack: the share of images that a classifier gets right after each attack and after all.

`robust_accuracy` is the per-image worst case: an image counts only if it withstands every attack of the tier. The tier
`rank` also looks for signs of masked gradients, since accuracies under gradient attacks mean nothing beside them.
Adding an attack is a function in `attacks` and a row in a tier's table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from trainables import attacks, masking
from trainables.attacks import LogitsFn
from trainables.data import Split
from trainables.seeds import seed_for

_AttackFn = Callable[[LogitsFn, torch.Tensor, torch.Tensor, float, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class Attack:
    """One row of a tier: attacks all images and has an accuracy of its own, or only those that still stand."""

    name: str
    run: _AttackFn
    survivors_only: bool = False


def _fgsm(
    logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, rng: torch.Generator
) -> torch.Tensor:
    return attacks.fgsm(logits_fn, images, labels, epsilon)


def _r_fgsm(
    logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, rng: torch.Generator
) -> torch.Tensor:
    return attacks.r_fgsm(logits_fn, images, labels, epsilon, rng=rng)


def _pgd(steps: int, loss: attacks.Loss) -> _AttackFn:
    def run(
        logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, rng: torch.Generator
    ) -> torch.Tensor:
        size = attacks.REACH * epsilon / steps
        return attacks.pgd_survivors(
            logits_fn, images, labels, epsilon, steps=steps, step_size=size, loss=loss, rng=rng
        )

    return run


_EVERY_TIER = (Attack("fgsm", _fgsm), Attack("rfgsm", _r_fgsm))
TIERS: dict[str, tuple[Attack, ...]] = {
    "watch": (*_EVERY_TIER, Attack("pgd", _pgd(10, attacks.cross_entropy))),
    "rank": (
        *_EVERY_TIER,
        Attack("pgd", _pgd(40, attacks.cross_entropy)),
        Attack("pgd_margin", _pgd(40, attacks.margin), survivors_only=True),
    ),
}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode and leave it in the mode it was found in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def evaluate(classifier: nn.Module, split: Split, *, epsilon: float, tier: str, seed: int = 0) -> dict[str, float]:
    """Return clean, per-attack and robust accuracy in [0, 1] on every image of a split; ``rank`` adds `masking.look`.

    The result depends on the classifier, the images, epsilon (pixels of [0, 1]), the tier and the seed alone.
    """
    table = TIERS[tier]
    rng = torch.Generator(device=split.images.device).manual_seed(seed_for(seed, "evaluation", tier))
    right = dict.fromkeys(("clean", *(attack.name for attack in table if not attack.survivors_only), "robust"), 0)
    with evaluating(classifier):
        for images, labels in split.batches(masking.IMAGES_AT_ONCE):
            for name, count in _count_right(classifier, images, labels, epsilon, table, rng).items():
                right[name] += count
        metrics = {f"{name}_accuracy": count / len(split) for name, count in right.items()}
        if tier == "rank":
            metrics |= masking.look(classifier, split, epsilon, metrics, seed)
    return metrics


def _count_right(
    classifier: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    table: tuple[Attack, ...],
    rng: torch.Generator,
) -> dict[str, int]:
    stands = _is_right(classifier, images, labels)
    right = {"clean": int(stands.sum())}
    for attack in table:
        if attack.survivors_only:
            index = stands.nonzero().squeeze(-1)
            if len(index):
                found = attack.run(classifier, images[index], labels[index], epsilon, rng)
                stands[index] = _is_right(classifier, found, labels[index])
        else:
            withstood = _is_right(classifier, attack.run(classifier, images, labels, epsilon, rng), labels)
            right[attack.name] = int(withstood.sum())
            stands &= withstood
    right["robust"] = int(stands.sum())
    return right


@torch.no_grad()
def _is_right(classifier: LogitsFn, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return classifier(images).argmax(-1) == labels
