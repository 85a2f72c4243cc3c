"""Optimisers by the names of a configuration, and gradient steps with clipping.

They are torch's own without what torch wraps around their methods, which imports its compiler: a second of computing
and 60 MB for each process that trains, and nothing here is compiled.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

MOMENTUM = 0.9


class _Uncompiled:
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


class _Adam(_Uncompiled, torch.optim.Adam):
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class _SGD(_Uncompiled, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


def build_optimizer(
    parameters: Iterable[nn.Parameter], name: str, learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """Return a fused optimiser.

    Args:
        parameters: what it updates.
        name: ``adam``, or ``sgd`` with a momentum of 0.9.
        learning_rate: of the first step; see `set_learning_rate`.
        weight_decay: factor of the weights that is added to their gradient.
    """
    if name == "adam":
        return _Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    return _SGD(parameters, lr=learning_rate, momentum=MOMENTUM, weight_decay=weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step: in place where it is a tensor, which a CUDA graph has the address of."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def state_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimiser's state for a checkpoint, with its learning rates as numbers."""
    state = optimizer.state_dict()
    return {**state, "param_groups": [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]}


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, gradient_clip: float | None = None) -> None:
    """Take one step down the gradient of a loss.

    Args:
        optimizer: takes the step; gradients left over from earlier are dropped.
        loss: a scalar.
        gradient_clip: a longer gradient (L2 norm over all parameters) is shortened to this; None never shortens.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    clip_and_step(optimizer, gradient_clip)


def clip_and_step(optimizer: torch.optim.Optimizer, gradient_clip: float | None) -> None:
    """Take one step down the gradients that the parameters have now; see `descend`."""
    if gradient_clip is not None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, gradient_clip)
    optimizer.step()
