"""The precision that networks compute their training passes in; attacks' steps and losses stay in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


class PrecisionError(ValueError):
    """A precision that this machine does not compute in."""


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
