"""Optimisers that a configuration names, and one step down a loss with a bound on the gradient's length."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

MOMENTUM = 0.9


def build_optimizer(
    parameters: Iterable[nn.Parameter], name: str, learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """Return ``adam`` or ``sgd`` (momentum 0.9), each as one fused kernel."""
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    return torch.optim.SGD(parameters, lr=learning_rate, momentum=MOMENTUM, weight_decay=weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step have a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, gradient_clip: float | None = None) -> None:
    """Take one step down a loss; a gradient longer than ``gradient_clip`` (L2 norm) is shortened to it."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    clip_and_step(optimizer, gradient_clip)


def clip_and_step(optimizer: torch.optim.Optimizer, gradient_clip: float | None) -> None:
    """Take one step along the gradients that are there; see `descend`."""
    if gradient_clip is not None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, gradient_clip)
    optimizer.step()
