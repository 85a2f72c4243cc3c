"""The tier `final`: the strongest attacks of every kind on one classifier, and whether its gradients can be trusted.

White-box attacks go on with what still stands. Black-box attacks take on every image, because one that finds more than
those that see the gradients is a sign of masking (Carlini et al. 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from trainables.attacks import gradient as attacks
from trainables.attacks import losses
from trainables.attacks.apgd import apgd, apgd_targeted
from trainables.attacks.losses import LogitsFn
from trainables.attacks.square import square
from trainables.data.tensors import Split
from trainables.evaluation import masking
from trainables.evaluation.accuracy import (
    RANK_PGD,
    SINGLE_STEPS,
    Attack,
    AttackFn,
    AttackResults,
    evaluating,
    run_attacks,
)
from trainables.evaluation.epsilon_curve import EPSILONS, STEPS, accuracy_by_epsilon
from trainables.judging.fresh_generator import FreshGenerator
from trainables.seeds import seed_for

# More steps fit the images to the rival, not to the classifier; Dong et al. 2018 take 10.
_TRANSFER_STEPS = 20


@dataclass(frozen=True)
class Effort:
    """How long attacks try: gradient steps and random restarts of each, queries of Square, the generator's epochs."""

    steps: int = 100
    restarts: int = 3
    queries: int = 5000
    generator_epochs: int = 1


class Transfer:
    """Images made against another classifier, by momentum, which carries over best (Dong et al. 2018)."""

    def __init__(self, rival: LogitsFn) -> None:
        self._rival = rival

    def __call__(
        self, logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, *, rng: torch.Generator
    ) -> torch.Tensor:
        """Return perturbed images ``(batch, 1, 28, 28)``; the classifier itself is never asked."""
        return attacks.mi_fgsm(self._rival, images, labels, epsilon, steps=_TRANSFER_STEPS)


def white_box(effort: Effort, classifier: nn.Module, training: Split, seed: int) -> tuple[Attack, ...]:
    """Return the attacks that see the gradients, those that usually find most first: the rest have less to do."""
    iterated = partial(attacks.pgd_survivors, steps=effort.steps, restarts=effort.restarts)
    rows: dict[str, AttackFn] = {
        "apgd": partial(apgd, steps=effort.steps),
        "apgd_targeted": partial(apgd_targeted, steps=effort.steps),
        "pgd_long": iterated,
        "pgd_long_margin": partial(iterated, loss=losses.margin),
        "mi_fgsm": partial(_momentum, steps=effort.steps),
        "fresh_generator": FreshGenerator(classifier, training, effort.generator_epochs, seed),
    }
    return (*SINGLE_STEPS, RANK_PGD, *(Attack(name, run, survivors_only=True) for name, run in rows.items()))


def black_box(effort: Effort, rivals: Mapping[str, LogitsFn]) -> tuple[Attack, ...]:
    """Return the attacks that see no gradient of the classifier: images from its rivals, and Square."""
    transfers = [Attack(f"transfer_{name}", Transfer(rival)) for name, rival in rivals.items()]
    return (*transfers, Attack("square", partial(square, queries=effort.queries)))


def judge(
    classifier: nn.Module,
    split: Split,
    *,
    epsilon: float,
    training: Split,
    rivals: Mapping[str, LogitsFn],
    effort: Effort | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return what the strongest attacks leave of a classifier.

    Args:
        classifier: maps images ``(batch, 1, 28, 28)`` to logits; judged in evaluation mode and left in its own.
        split: the images to judge it on.
        epsilon: the attacks' radius in pixels of [0, 1].
        training: images that a fresh generator learns to attack it on.
        rivals: classifiers trained independently on the same task, whose adversarial images are tried on it.
        effort: how long the attacks try.
        seed: of everything random.

    Returns:
        As plain data: ``metrics`` (accuracies in [0, 1], what the masking checks measured, ``masking_<check>``),
        ``attacks`` in their order (each with the accuracy that it leaves alone, where it attacked all images, the
        share that stands after it and all before it, and seconds), and ``accuracy_by_epsilon``.
    """
    effort = effort or Effort()
    white, black = white_box(effort, classifier, training, seed), black_box(effort, rivals)
    rng = torch.Generator(device=split.images.device).manual_seed(seed_for(seed, "evaluation", "final"))
    with evaluating(classifier):
        results = run_attacks(classifier, split, epsilon, (*white, *black), rng)
        metrics = results.accuracies()
        metrics["white_box_accuracy"] = _share(results.still_correct(*(row.name for row in white)))
        metrics["black_box_accuracy"] = min(_share(results.still_correct(row.name)) for row in black)
        curve = accuracy_by_epsilon(classifier, split, EPSILONS, STEPS, seed)
        metrics |= masking.check_masking(
            classifier, split, epsilon, metrics | {"largest_rise": masking.largest_rise(curve)}, seed
        )
    return {
        "metrics": metrics,
        "attacks": _account(results),
        "accuracy_by_epsilon": [[radius, accuracy] for radius, accuracy in curve.items()],
    }


def _momentum(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    *,
    steps: int,
    rng: torch.Generator,
) -> torch.Tensor:
    return attacks.mi_fgsm(logits_fn, images, labels, epsilon, steps=steps)


def _account(results: AttackResults) -> list[dict[str, Any]]:
    rows, before = [], []
    for row in results.table:
        before.append(row.name)
        alone = None if row.survivors_only else _share(results.still_correct(row.name))
        standing = _share(results.still_correct(*before))
        rows.append({"name": row.name, "alone": alone, "standing": standing, "seconds": results.seconds[row.name]})
    return rows


def _share(images: torch.Tensor) -> float:
    return int(images.sum()) / len(images)
