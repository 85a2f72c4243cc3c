"""Losses that a generator minimises, per example: from logits ``(..., classes)`` and labels ``(...)`` to ``(...)``.

`GENERATOR_LOSSES` lead away from the true label, `TARGETED_LOSSES` of the same names towards a target. The wrongness of
the paper (Chu and Collins), which a generator maximises, is 1 - p(correct) or p(target).
"""

from __future__ import annotations

import torch

from trainables.attacks.losses import Loss, cross_entropy, margin


def correct_probability(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return p(correct), which is 1 minus the wrongness (Chu and Collins): near 1 the generator has failed."""
    return logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def negative_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return log p(correct): its gradient does not vanish where the classifier is confident and wrong."""
    return -cross_entropy(logits, labels)


def log_wrongness(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return -log(1 - p(correct)): its gradient does not vanish where p(correct) is near 1.

    Computed as logsumexp(all logits) - logsumexp(the others), which stays finite there.
    """
    others = logits.scatter(-1, labels.unsqueeze(-1), -torch.inf)
    return logits.logsumexp(-1) - others.logsumexp(-1)


def negative_margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the label's logit minus the largest other (Carlini and Wagner 2017): its gradient vanishes nowhere."""
    return -margin(logits, labels)


def missed_target_probability(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return 1 - p(target): near 1 the generator has failed."""
    return 1.0 - correct_probability(logits, targets)


GENERATOR_LOSSES: dict[str, Loss] = {
    "wrongness": correct_probability,
    "cross_entropy": negative_cross_entropy,
    "log_wrongness": log_wrongness,
    "margin": negative_margin,
}
# With a target the wrongness is p(target), so the cross-entropy is minus its logarithm.
TARGETED_LOSSES: dict[str, Loss] = {
    "wrongness": missed_target_probability,
    "cross_entropy": cross_entropy,
    "log_wrongness": cross_entropy,
    "margin": margin,
}
