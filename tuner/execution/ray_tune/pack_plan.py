"""What packs of runs take of a GPU's memory, and whether it is there. Nothing here asks a cluster or a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.errors import UserError
from tuner.execution.ray_tune.gpu_plan import GpuMachine, RunResources, pack_mb


def describe_pack(pack: RunResources, machines: Sequence[GpuMachine], run_mb: float | None) -> str:
    """Return in a sentence or two which packs there are.

    Args:
        pack: what a pack occupies.
        machines: on whose GPUs it may be; none if it trains on processors.
        run_mb: see `pack_mb`; None if it was not measured.

    Raises:
        UserError: a pack needs more than the smallest GPU has, or than its share of it; the message has both numbers.
    """
    text = f"Packs: {pack.pack} runs in one process, which has {pack.cpu:g} CPU"
    if not pack.gpu:
        return f"{text}; on processors they train one after the other"
    text += f" and {'a GPU' if pack.gpu == 1 else f'{pack.gpu:g} of a GPU'}"
    if run_mb is None:
        return f"{text}. What they take of its memory was not measured"
    needed = pack_mb(run_mb, pack.pack)
    known = [machine for machine in machines if machine.memory_mb is not None]
    if not known:
        return f"{text}. They take about {needed / 1000:.1f} GB of its memory"
    smallest = min(known, key=lambda machine: machine.memory_mb or 0.0)
    there = (smallest.memory_mb or 0.0) * min(pack.gpu, 1.0)
    if needed > there:
        raise UserError(
            f"a pack of {pack.pack} runs needs about {needed / 1000:.1f} GB of a GPU's memory, and has "
            f"{there / 1000:.1f} on {smallest.name}: lower resources.pack, or batch_size or the networks' sizes"
        )
    return f"{text}. They take about {needed / 1000:.1f} GB of its memory of {there / 1000:.1f} GB"
