"""How training uses the machine: threads, the number format of training passes, and the C allocator."""

from __future__ import annotations

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from trainables.errors import PrecisionError


def set_num_threads(num_threads: int) -> None:
    """Set how many threads torch computes with in this process; the last digit of a float can depend on it."""
    torch.set_num_threads(num_threads)


def num_gpus() -> int:
    """Return how many GPUs torch can compute on in this process."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def supports_bfloat16(capability: tuple[int, int]) -> bool:
    """Return whether GPUs of a CUDA compute capability multiply bfloat16 in hardware: those from Ampere on."""
    return capability >= (8, 0)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 in hardware.

    That is a CPU with AVX512_BF16 or AMX, or a GPU from Ampere on; any other device returns False.
    """
    if device.type == "cuda":
        return supports_bfloat16(torch.cuda.get_device_capability(device))
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def training_passes(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return a context for training updates, inside which networks compute in a precision.

    Args:
        precision: ``float32`` or ``bfloat16``.
        device: where the networks are.

    Raises:
        PrecisionError: the device does not compute in bfloat16 itself, it would only emulate it.
    """
    if precision == "float32":
        return nullcontext()
    if not has_bfloat16(device):
        raise PrecisionError(
            f"precision bfloat16 needs a processor with AVX512_BF16 or AMX, or a GPU from Ampere on; "
            f"this {device.type} device has none of them: set precision to float32"
        )
    # A weight that autocast caches without a gradient, while an attack is made, would get none in the update either.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


# From malloc.h. Larger allocations than the second are still mapped on their own; 32 MiB is the most that glibc takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _LARGEST_BYTES = 2**30, 2**25


def keep_freed_memory() -> None:
    """Let this process keep up to 1 GiB of memory that it has freed, which saves page faults at the next minibatch.

    Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
