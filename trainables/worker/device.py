"""Where a run computes: on the GPU that Ray has assigned to it, and nowhere else, however many a process can see."""

from __future__ import annotations

import os
from collections.abc import Sequence

import ray
import torch

OutOfMemoryError = torch.OutOfMemoryError
"""What torch raises when a GPU has no more memory."""


def assigned_device(gpu_share: float, gpu_ids: Sequence[str], visible: str | None) -> str:
    """Return the name of a run's device, ``cpu`` or one like ``cuda:0``.

    Args:
        gpu_share: of a GPU that the run was given; 0 if none.
        gpu_ids: of the GPUs that it was given: numbers, or names of parts of GPUs.
        visible: what ``CUDA_VISIBLE_DEVICES`` says here; CUDA numbers devices by their place in it.

    Raises:
        ValueError: a GPU was assigned that this process cannot see.
    """
    if gpu_share == 0 or not gpu_ids:
        return "cpu"
    first = gpu_ids[0]
    if visible is None:
        return f"cuda:{first}"
    there = [name.strip() for name in visible.split(",")]
    if first not in there:
        raise ValueError(
            f"GPU {first} was assigned to the run, but CUDA_VISIBLE_DEVICES={visible} hides it: unset it there"
        )
    return f"cuda:{there.index(first)}"


def own_device(gpu_share: float) -> str:
    """Return the name of the device that Ray has given to this process; see `assigned_device`."""
    ids = ray.get_runtime_context().get_accelerator_ids()["GPU"] if gpu_share else []
    return assigned_device(gpu_share, ids, os.environ.get("CUDA_VISIBLE_DEVICES"))


def is_lost(device: str) -> bool:
    """Return whether a GPU takes nothing more from this process, as after an illegal access to its memory."""
    if device == "cpu":
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def prepare(device: str, gpu_share: float) -> None:
    """Make a device ready for a run that shares it: of its memory no more than its share.

    Raises:
        RuntimeError: CUDA does not work here.
    """
    if device == "cpu":
        return
    if not torch.cuda.is_available():
        raise RuntimeError(f"{device} was assigned to the run, but torch sees no GPU: this node has torch without CUDA")
    torch.cuda.set_device(device)
    torch.cuda.set_per_process_memory_fraction(min(gpu_share, 1.0), device)


def memory_advice(device: str, gpu_share: float) -> str:
    """Return what to do when a run finds no more memory on its GPU."""
    if gpu_share < 1:
        return (
            f"{device} has no more memory within this run's share of {gpu_share:g}: raise resources.gpu, so that fewer "
            "runs share it, or lower batch_size"
        )
    return f"{device} has no more memory, and the run has all of it: lower batch_size"
