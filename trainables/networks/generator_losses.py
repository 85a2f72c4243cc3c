"""What the generator minimises, per example: from its perturbed images' logits ``(..., classes)`` and labels.

Two tables of the same names: away from the true label, and towards a target. The wrongness that is sought is
1 - p(correct) in the one and p(target) in the other.
"""

from __future__ import annotations

import torch

from trainables.attacks.losses import Loss, cross_entropy, margin


def wrongness(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return p(correct), one minus the wrongness that the generator maximises (Chu and Collins): near 1 it has lost."""
    return logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def negative_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return log p(correct): it does not vanish where the classifier is confident and wrong."""
    return -cross_entropy(logits, labels)


def log_wrongness(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return -log(1 - p(correct)), as logsumexp(all) - logsumexp(others): it does not vanish where p is near 1."""
    others = logits.scatter(-1, labels.unsqueeze(-1), -torch.inf)
    return logits.logsumexp(-1) - others.logsumexp(-1)


def negative_margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the label's logit minus the best other (Carlini and Wagner 2017): its gradient vanishes nowhere."""
    return -margin(logits, labels)


def target_missed(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return 1 - p(target): near 1 the generator has lost."""
    return 1.0 - wrongness(logits, targets)


GENERATOR_LOSSES: dict[str, Loss] = {
    "wrongness": wrongness,
    "cross_entropy": negative_cross_entropy,
    "log_wrongness": log_wrongness,
    "margin": negative_margin,
}
# The wrongness aimed at is p(target), so its logarithm and the cross-entropy are one.
TARGETED_LOSSES: dict[str, Loss] = {
    "wrongness": target_missed,
    "cross_entropy": cross_entropy,
    "log_wrongness": cross_entropy,
    "margin": margin,
}
