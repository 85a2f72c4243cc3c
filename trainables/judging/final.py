"""The tier `final`: the strongest attacks of every kind on one classifier, and checks for masked gradients.

White-box attacks beyond those of the tier `rank` attack only the images that all attacks before them left correct.
Black-box attacks attack every image: one that succeeds more often than the white-box attacks is a sign of masked
gradients (Carlini et al. 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from trainables.attacks import gradient, losses
from trainables.attacks.apgd import apgd, apgd_targeted
from trainables.attacks.losses import LogitsFn
from trainables.attacks.square import square
from trainables.attacks.square_l2 import square_l2
from trainables.common.seeds import seed_for
from trainables.common.tasks import Norm
from trainables.data.tensors import Split
from trainables.evaluation import masking
from trainables.evaluation.accuracy import AttackResults, evaluating, run_attacks
from trainables.evaluation.attack_table import ATTACKS, Attack, AttackFn, attacks_of, in_norm
from trainables.evaluation.checks import largest_rise
from trainables.evaluation.epsilon_curve import STEPS, accuracy_by_epsilon, epsilons_in
from trainables.judging.fresh_generator import FreshGenerator

# More steps fit the images to the surrogate, not to the attacked classifier; Dong et al. 2018 take 10.
_TRANSFER_STEPS = 20


@dataclass(frozen=True)
class AttackBudget:
    """How long the attacks search.

    Attributes:
        steps: gradient steps of each gradient attack and restart.
        restarts: random restarts of PGD.
        queries: forward passes of Square on each image.
        generator_epochs: passes of the fresh generator over the training images.
    """

    steps: int = 100
    restarts: int = 3
    queries: int = 5000
    generator_epochs: int = 1


class TransferAttack:
    """Adversarial images made against a surrogate model by MI-FGSM, whose images transfer best (Dong et al. 2018)."""

    def __init__(self, surrogate: LogitsFn, norm: Norm = "linf") -> None:
        self._surrogate = surrogate
        self._norm: Norm = norm

    def __call__(
        self, logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, *, rng: torch.Generator
    ) -> torch.Tensor:
        """Return adversarial images ``(batch, C, H, W)``; neither ``logits_fn`` nor ``rng`` is used."""
        return gradient.mi_fgsm(self._surrogate, images, labels, epsilon, steps=_TRANSFER_STEPS, norm=self._norm)


def white_box_attacks(
    budget: AttackBudget, classifier: nn.Module, training: Split, seed: int, norm: Norm = "linf"
) -> tuple[Attack, ...]:
    """Return the attacks that use gradients of the classifier, in the order in which they run.

    Those of the tier `rank` that attack all images come first, so the result has all of that tier's accuracies. The
    others, on survivors only, begin with the most successful ones, which leaves less work to the rest.

    Args:
        budget: how long they search.
        classifier: the one to attack.
        training: the images that the fresh generator learns from.
        seed: of the fresh generator.
        norm: of the ball.
    """
    iterated = partial(gradient.pgd_survivors, steps=budget.steps, restarts=budget.restarts)
    rows: dict[str, AttackFn] = {
        "apgd": partial(apgd, steps=budget.steps),
        "apgd_targeted": partial(apgd_targeted, steps=budget.steps),
        "pgd_long": iterated,
        "pgd_long_margin": partial(iterated, loss=losses.margin),
        "mi_fgsm": partial(ATTACKS["mi_fgsm"], steps=budget.steps),
    }
    on_all_images = [attack for attack in attacks_of("rank", norm) if not attack.survivors_only]
    fresh = FreshGenerator(classifier, training, budget.generator_epochs, seed, norm)
    on_survivors = [in_norm(Attack(name, run, survivors_only=True), norm) for name, run in rows.items()]
    return (*on_all_images, *on_survivors, Attack("fresh_generator", fresh, survivors_only=True))


def black_box_attacks(
    budget: AttackBudget, surrogates: Mapping[str, LogitsFn], norm: Norm = "linf"
) -> tuple[Attack, ...]:
    """Return the attacks that use no gradient of the classifier: transfer from each surrogate model, and Square."""
    transfers = [Attack(f"transfer_{name}", TransferAttack(surrogate, norm)) for name, surrogate in surrogates.items()]
    return (*transfers, Attack("square", partial(square if norm == "linf" else square_l2, queries=budget.queries)))


def evaluate_final(
    classifier: nn.Module,
    split: Split,
    *,
    epsilon: float,
    training: Split,
    surrogates: Mapping[str, LogitsFn],
    budget: AttackBudget | None = None,
    seed: int = 0,
    further: Sequence[Attack] = (),
    norm: Norm = "linf",
) -> dict[str, Any]:
    """Evaluate a classifier by the strongest attacks.

    Args:
        classifier: maps images ``(batch, C, H, W)`` to logits; run in evaluation mode and left in its own.
        split: the images to evaluate it on.
        epsilon: the attacks' radius in pixels of [0, 1].
        training: the images that the fresh generator learns from.
        surrogates: classifiers trained independently on the same task, for the transfer attacks.
        budget: how long the attacks search.
        seed: of all random numbers.
        further: attacks of others that count among those that use gradients, see `further_attacks`.
        norm: of the ball.

    Returns:
        Plain data:

        - ``metrics``: accuracies in [0, 1], what the masking checks measured, and ``masking_<check>``;
        - ``attacks``: for each attack, in their order, ``name``, ``alone`` (accuracy under it, None for an attack on
          survivors only), ``standing`` (share of the images that are correct under it and all attacks before it) and
          ``seconds``;
        - ``accuracy_by_epsilon``: pairs of epsilon and accuracy under PGD.
    """
    budget = budget or AttackBudget()
    white = (*white_box_attacks(budget, classifier, training, seed, norm), *further)
    black = black_box_attacks(budget, surrogates, norm)
    rng = torch.Generator(device=split.device).manual_seed(seed_for(seed, "evaluation", "final"))
    with evaluating(classifier):
        results = run_attacks(classifier, split, epsilon, (*white, *black), rng)
        metrics = results.accuracies()
        metrics["white_box"] = _share(results.still_correct(*(row.name for row in white)))
        metrics["black_box"] = min(_share(results.still_correct(row.name)) for row in black)
        curve = accuracy_by_epsilon(classifier, split, epsilons_in(norm, epsilon), STEPS, seed, norm)
        measured = metrics | {"largest_rise": largest_rise(curve)}
        metrics |= masking.check_masking(classifier, split, epsilon, measured, seed, norm)
    return {
        "metrics": metrics,
        "attacks": _attack_rows(results),
        "accuracy_by_epsilon": [[radius, accuracy] for radius, accuracy in curve.items()],
    }


def _attack_rows(results: AttackResults) -> list[dict[str, Any]]:
    rows, before = [], []
    for row in results.table:
        before.append(row.name)
        alone = None if row.survivors_only else _share(results.still_correct(row.name))
        standing = _share(results.still_correct(*before))
        rows.append({"name": row.name, "alone": alone, "standing": standing, "seconds": results.seconds[row.name]})
    return rows


def _share(images: torch.Tensor) -> float:
    return int(images.sum()) / len(images)
