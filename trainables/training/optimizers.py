"""Optimisers that a configuration names, and one step down a loss with a bound on the gradient's length."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from trainables.errors import PrecisionError

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


def multiplies_bfloat16(capability: tuple[int, int]) -> bool:
    """Return whether GPUs of a compute capability multiply bfloat16 themselves: from Ampere on."""
    return capability >= (8, 0)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 itself: AVX512_BF16 or AMX of a CPU, Ampere or newer of a GPU."""
    if device.type == "cuda":
        return multiplies_bfloat16(torch.cuda.get_device_capability(device))
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def training_passes(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return a context for training updates in which networks compute in a precision, ``float32`` or ``bfloat16``.

    Raises:
        PrecisionError: the device would only imitate it.
    """
    if precision == "float32":
        return nullcontext()
    if not has_bfloat16(device):
        raise PrecisionError(
            f"precision bfloat16 needs a processor with AVX512_BF16 or AMX, or a GPU from Ampere on; "
            f"this {device.type} device has none of them: set precision to float32"
        )
    # A weight that is cached without a gradient, as in the making of an attack, would later learn nothing.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
