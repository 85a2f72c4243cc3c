"""Losses that attacks climb, per example, from logits ``(..., classes)`` and labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

LogitsFn = Callable[[torch.Tensor], torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Epsilon = float | torch.Tensor


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return -log p(label) per example: ``(..., classes), (...) -> (...)``."""
    flat = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none")
    return flat.reshape(labels.shape)


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the best other logit minus the label's (Carlini and Wagner 2017); above 0 where the label has lost."""
    of_label = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    others = logits.scatter(-1, labels.unsqueeze(-1), -torch.inf)
    return others.amax(-1) - of_label


# Where all logits are equal the ratios below are 0 / 0: this makes them 0.
_TINY = 1e-12


def dlr(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the margin divided by the largest logit minus the third: no scale of the logits changes it.

    The difference of logits ratio (Croce and Hein 2020), for three classes or more. It leads away from a label; towards
    one it is `targeted_dlr` that does.
    """
    top = logits.topk(3).values
    return margin(logits, labels) / (top[..., 0] - top[..., 2] + _TINY)


def targeted_dlr(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the target's logit minus the label's, divided by a difference that scales with the logits.

    That is the largest logit minus the mean of the third and the fourth (Croce and Hein 2020): four classes or more.
    """
    top = logits.topk(4).values
    of_label, of_target = (logits.gather(-1, some.unsqueeze(-1)).squeeze(-1) for some in (labels, targets))
    return (of_target - of_label) / (top[..., 0] - 0.5 * (top[..., 2] + top[..., 3]) + _TINY)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}
