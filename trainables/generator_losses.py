"""What the generator minimises, per example: from its perturbed images' logits ``(..., classes)`` and true labels."""

from __future__ import annotations

import torch

from trainables.attacks import Loss, cross_entropy


def wrongness(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return p(correct), one minus the wrongness that the generator maximises (Chu and Collins): near 1 it has lost."""
    return logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def negative_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return log p(correct): it does not vanish where the classifier is confident and wrong."""
    return -cross_entropy(logits, labels)


GENERATOR_LOSSES: dict[str, Loss] = {"wrongness": wrongness, "cross_entropy": negative_cross_entropy}
