"""Accuracy, clean and under attack: the share of images that a classifier gets right after each attack and after all.

`robust_accuracy` is the per-image worst case: an image counts only if it withstands every attack of the tier. The tier
`rank` also looks for signs of masked gradients, since accuracies under gradient attacks mean nothing beside them.
Adding an attack is a function in `attacks` and a row in a tier's table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import nn

from trainables.attacks import gradient as attacks
from trainables.attacks import losses
from trainables.attacks.apgd import apgd
from trainables.attacks.losses import LogitsFn
from trainables.data.tensors import Split
from trainables.evaluation import masking
from trainables.seeds import seed_for


class AttackFn(Protocol):
    """What a row runs: images in, perturbed images out, both ``(batch, 1, 28, 28)``."""

    def __call__(  # noqa: D102 - see the class
        self, logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, *, rng: torch.Generator
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class Attack:
    """One row of a tier: attacks all images and has an accuracy of its own, or only those that still stand."""

    name: str
    run: AttackFn
    survivors_only: bool = False


def _fgsm(
    logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, *, rng: torch.Generator
) -> torch.Tensor:
    return attacks.fgsm(logits_fn, images, labels, epsilon)


SINGLE_STEPS = (Attack("fgsm", _fgsm), Attack("rfgsm", attacks.r_fgsm))
RANK_PGD = Attack("pgd", partial(attacks.pgd_survivors, steps=40))
TIERS: dict[str, tuple[Attack, ...]] = {
    "watch": (*SINGLE_STEPS, Attack("pgd", partial(attacks.pgd_survivors, steps=10))),
    "rank": (
        *SINGLE_STEPS,
        RANK_PGD,
        # PGD on the margin costs the same and left 4 points more standing on a net trained from random starts.
        Attack("apgd_margin", partial(apgd, steps=40, loss=losses.margin), survivors_only=True),
    ),
}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode and leave each of its parts in the mode it was found in."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, was_training in modes:
            part.training = was_training


def evaluate(classifier: nn.Module, split: Split, *, epsilon: float, tier: str, seed: int = 0) -> dict[str, float]:
    """Return clean, per-attack and robust accuracy in [0, 1] on every image of a split; ``rank`` adds `masking.look`.

    The result depends on the classifier, the images, epsilon (pixels of [0, 1]), the tier and the seed alone.
    """
    rng = torch.Generator(device=split.images.device).manual_seed(seed_for(seed, "evaluation", tier))
    with evaluating(classifier):
        metrics = withstand(classifier, split, epsilon, TIERS[tier], rng).accuracies()
        if tier == "rank":
            metrics |= masking.look(classifier, split, epsilon, metrics, seed)
    return metrics


@dataclass(frozen=True)
class Outcome:
    """Which of a split's images ``(n,)`` a classifier gets right, and the seconds that each attack took."""

    table: tuple[Attack, ...]
    clean: torch.Tensor
    after: dict[str, torch.Tensor]  # by attack; what had fallen before an attack on survivors counts as fallen
    seconds: dict[str, float]

    def standing(self, *names: str) -> torch.Tensor:
        """Return which images are right without an attack and after each of these."""
        return torch.stack([self.clean, *(self.after[name] for name in names)]).all(0)

    def accuracies(self) -> dict[str, float]:
        """Return ``<attack>_accuracy`` of every attack on all images, beside ``clean_`` and ``robust_accuracy``."""
        of_all = {row.name: self.after[row.name] for row in self.table if not row.survivors_only}
        right = {"clean": self.clean, **of_all, "robust": self.standing(*self.after)}
        return {f"{name}_accuracy": int(images.sum()) / len(images) for name, images in right.items()}


def withstand(
    classifier: LogitsFn, split: Split, epsilon: float, table: tuple[Attack, ...], rng: torch.Generator
) -> Outcome:
    """Attack a split with every row of a table, one after the other; the classifier is in evaluation mode."""
    parts = [
        _withstand(classifier, images, labels, epsilon, table, rng)
        for images, labels in split.batches(masking.IMAGES_AT_ONCE)
    ]
    return Outcome(
        table=table,
        clean=torch.cat([part.clean for part in parts]),
        after={row.name: torch.cat([part.after[row.name] for part in parts]) for row in table},
        seconds={row.name: sum(part.seconds[row.name] for part in parts) for row in table},
    )


def _withstand(
    classifier: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    table: tuple[Attack, ...],
    rng: torch.Generator,
) -> Outcome:
    clean = is_right(classifier, images, labels)
    stands, after, seconds = clean, {}, {}
    for row in table:
        started = time.monotonic()
        index = stands.nonzero().squeeze(-1) if row.survivors_only else torch.arange(len(labels), device=labels.device)
        withstood = torch.zeros_like(clean)
        if len(index):
            found = row.run(classifier, images[index], labels[index], epsilon, rng=rng)
            withstood[index] = is_right(classifier, found, labels[index])
        after[row.name] = withstood
        stands = stands & withstood
        seconds[row.name] = time.monotonic() - started
    return Outcome(table, clean, after, seconds)


@torch.no_grad()
def is_right(classifier: LogitsFn, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return which images ``(batch, 1, 28, 28)`` a classifier gives their label."""
    return classifier(images).argmax(-1) == labels
