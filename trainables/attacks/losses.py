"""Losses that untargeted attacks increase: from logits ``(..., classes)`` and labels ``(...)`` to losses ``(...)``.

`LOSSES` is the table of them by name; `is_correct` says when an attack has not succeeded.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

LogitsFn = Callable[[torch.Tensor], torch.Tensor]
"""From images ``(..., C, H, W)`` to logits ``(..., classes)``."""

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits ``(..., classes)`` and labels ``(...)`` to losses ``(...)``."""

Epsilon = float | torch.Tensor
"""A radius in pixels of [0, 1]: a number, or a tensor that broadcasts against the images."""


def is_correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return which logits ``(..., classes)`` are finite and highest at the label, as booleans ``(...)``.

    The argmax of NaN is class 0, so logits that are not finite would otherwise be right wherever the label is 0.
    """
    return (logits.argmax(-1) == labels) & logits.isfinite().all(-1)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return -log p(label)."""
    flat = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none")
    return flat.reshape(labels.shape)


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the largest other logit minus the label's (Carlini and Wagner 2017): positive where misclassified."""
    label_logit = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    others = logits.scatter(-1, labels.unsqueeze(-1), -torch.inf)
    return others.amax(-1) - label_logit


# Where all logits are equal the ratios below are 0 / 0: this makes them 0.
_TINY = 1e-12
_OF_DLR = 3  # classes that the ratios need


def dlr(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Difference of logits ratio: return the margin divided by the largest minus the third largest logit.

    Multiplying all logits by a factor does not change it (Croce and Hein 2020). It has no meaning for two classes, of
    which the margin is returned.
    """
    if logits.shape[-1] < _OF_DLR:
        return margin(logits, labels)
    top = logits.topk(_OF_DLR).values
    return margin(logits, labels) / (top[..., 0] - top[..., 2] + _TINY)


def targeted_dlr(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Targeted difference of logits ratio: return (target logit - label logit) / scale, ``(...)``.

    The scale is the largest logit minus the mean of the third and the fourth largest, so that multiplying all logits by
    a factor does not change the ratio (Croce and Hein 2020). Of three classes the scale is the largest minus the
    smallest logit; of two it is 1.

    Args:
        logits: ``(..., classes)``.
        labels: the true classes ``(...)``.
        targets: the classes that the attack should produce ``(...)``.
    """
    label_logit, target_logit = (logits.gather(-1, index.unsqueeze(-1)).squeeze(-1) for index in (labels, targets))
    if logits.shape[-1] < _OF_DLR:
        return target_logit - label_logit
    top = logits.topk(min(_OF_DLR + 1, logits.shape[-1])).values
    return (target_logit - label_logit) / (top[..., 0] - 0.5 * (top[..., 2] + top[..., -1]) + _TINY)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}
