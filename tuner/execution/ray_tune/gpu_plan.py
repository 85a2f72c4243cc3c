"""How many runs share each GPU of a cluster: from its memory, the memory of one run and the processors beside it.

They share it as processes, or in one pack where the space allows one and the memory of a run is known.

Nothing here asks a cluster or a GPU: `tuner.execution.ray_tune.gpus` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trainables.common.words import counted
from trainables.worker.footprint import CONTEXT_MB
from tuner.errors import UserError

MOST_PER_GPU = 8
"""With 16 processes on one GPU no more runs were trained an hour than with 8: docs/howto/gpu.md."""
MOST_IN_PACK = 16
"""A pack of 32 trained no more runs an hour than one of 16, and two packs of 16 hardly more: docs/howto/gpu.md."""
MARGIN = 1.25
"""What a run is given of a GPU's memory, by what was measured: other configurations need more than the measured one."""
_PRECISION = 10_000  # Ray counts in ten-thousandths of a GPU
_TOLERANCE = 1e-9

Limit = Literal["memory", "processors", "runs", "processes", "pack"]
"""What keeps more runs from sharing a GPU."""


@dataclass(frozen=True)
class RunResources:
    """What one run, or one pack of runs, occupies of a machine: processors, and GPUs or a share of one.

    Attributes:
        cpu: processors.
        gpu: GPUs, or a share of one.
        pack: how many runs share these in one process.
    """

    cpu: float = 1.0
    gpu: float = 0.0
    pack: int = 1

    @property
    def amounts(self) -> dict[str, float]:
        """What is occupied, by Ray's names of the resources."""
        return {name: amount for name, amount in (("CPU", self.cpu), ("GPU", self.gpu)) if amount > 0}


@dataclass(frozen=True)
class GpuMachine:
    """A machine with GPUs.

    Attributes:
        name: as a person knows it.
        num_gpus: that it offers.
        cpus: processors that it offers.
        memory_mb: of the smallest of its GPUs; None if it is not known.
    """

    name: str
    num_gpus: int
    cpus: float
    memory_mb: float | None = None


@dataclass(frozen=True)
class GpuPlan:
    """How runs share GPUs.

    Attributes:
        num_gpus: that are used.
        num_present: that could be used without a limit on their number.
        per_gpu: how many runs share one, or train in the pack that has it.
        at_once: how many runs there are at a time; fewer than `per_gpu` on each where a machine has few processors.
        limit: what keeps more runs from sharing a GPU.
        run_mb: memory that one run was measured to need; None if it was not measured.
        memory_mb: of the smallest GPU; None if it is not known.
        cpu: processors of one run, or of one pack.
        in_packs: whether the runs on a GPU are a pack.
    """

    num_gpus: int
    num_present: int
    per_gpu: int
    at_once: int
    limit: Limit
    run_mb: float | None
    memory_mb: float | None
    cpu: float
    in_packs: bool = False

    @property
    def share(self) -> float:
        """What one run, or one pack, occupies of a GPU."""
        return 1.0 if self.in_packs else _PRECISION // self.per_gpu / _PRECISION

    @property
    def resources(self) -> RunResources:
        """What one run, or one pack, occupies."""
        return RunResources(self.cpu, self.share, self.per_gpu if self.in_packs else 1)

    @property
    def most_at_once(self) -> int:
        """How many runs there may be at a time on the GPUs that may be used, even if there are not so many."""
        return self.num_gpus * self.per_gpu if self.in_packs else self.at_once

    def describe(self) -> str:
        """Return the plan in a sentence or two."""
        gpus = f"{self.num_gpus} of {self.num_present}" if self.num_gpus < self.num_present else f"{self.num_gpus}"
        if self.in_packs and self.run_mb is not None and self.memory_mb is not None:
            needed = pack_mb(self.run_mb, self.per_gpu)
            return (
                f"GPUs: {gpus}, a pack of {self.per_gpu} runs on each: {self._why()}. They take about "
                f"{needed / 1000:.1f} GB of its memory of {self.memory_mb / 1000:.1f} GB"
            )
        runs = counted(self.per_gpu, "run")
        text = f"GPUs: {gpus}, {runs} at once on each ({self.share:g} of a GPU per run): {self._why()}"
        if self.run_mb is None:
            return f"{text}. What a run takes of a GPU's memory was not measured"
        whole = "" if self.memory_mb is None else f" of {self.memory_mb / 1000:.1f} GB"
        return f"{text}. A run takes about {self.run_mb / 1000:.1f} GB of its memory{whole}"

    def _why(self) -> str:
        return {
            "memory": "its memory holds no more",
            "processors": f"the processors beside it start no more, {self.cpu:g} for each run",
            "runs": "there are no more runs to train at once",
            "processes": "more processes on a GPU are no faster",
            "pack": "more in a pack are no faster",
        }[self.limit]


def plan_gpus(
    machines: Sequence[GpuMachine],
    cpu: float,
    wanted: int,
    *,
    run_mb: float | None = None,
    max_gpus: int | None = None,
    in_packs: bool = False,
) -> GpuPlan | None:
    """Return how runs share the GPUs of machines; None if no machine with a GPU has the processors for one run.

    Every run gets the same share, and every pack has as many runs, so the smallest GPU decides how much memory there
    is for a run.

    Args:
        machines: those that have GPUs.
        cpu: processors of one run, or of one pack.
        wanted: how many runs there could be at once, at least 1.
        run_mb: memory that a run was measured to need; None if it is not known.
        max_gpus: how many GPUs may be used, at least 1; by default all.
        in_packs: whether each GPU may have a pack, if the memory of a run and of the GPUs is known and more than one
            run fits and is wanted there.

    Raises:
        UserError: one run does not fit the smallest GPU; the message has both numbers.
    """
    able = [machine for machine in machines if machine.num_gpus and _per_gpu_by_cpus(machine, cpu)]
    if not able:
        return None
    present = sum(machine.num_gpus for machine in able)
    num_gpus = min(present, max_gpus or present)
    known = [machine for machine in able if machine.memory_mb is not None]
    smallest = min(known, key=lambda machine: machine.memory_mb or 0.0, default=None)
    rooms: dict[Limit, int] = {
        "processors": max(_per_gpu_by_cpus(machine, cpu) for machine in able),
        "runs": math.ceil(max(wanted, 1) / num_gpus),
        "processes": MOST_PER_GPU,
    }
    if smallest is not None and run_mb is not None:
        rooms = {"memory": _per_gpu_by_memory(smallest, run_mb), **rooms}
    limit = min(rooms, key=lambda name: rooms[name])  # of equal ones the first
    per_gpu = rooms[limit]
    fitting = sum(min(machine.num_gpus * per_gpu, int(machine.cpus / cpu + _TOLERANCE)) for machine in able)
    at_once = max(min(fitting, num_gpus * per_gpu, max(wanted, 1)), 1)
    memory_mb = smallest.memory_mb if smallest is not None else None
    plan = GpuPlan(num_gpus, present, per_gpu, at_once, limit, run_mb, memory_mb, cpu)
    if not in_packs or memory_mb is None or run_mb is None:
        return plan
    packs = sum(min(machine.num_gpus, int(machine.cpus / cpu + _TOLERANCE)) for machine in able)
    return _with_packs(plan, min(num_gpus, packs), wanted, run_mb, memory_mb)


def _with_packs(plan: GpuPlan, num_packs: int, wanted: int, run_mb: float, memory_mb: float) -> GpuPlan:
    """Return a plan with a pack on each of some GPUs, or as it is if a pack would have one run."""
    rooms: dict[Limit, int] = {
        "pack": MOST_IN_PACK,
        "runs": math.ceil(wanted / num_packs),
        "memory": _runs_in_memory(run_mb, memory_mb),
    }
    limit = min(rooms, key=lambda name: rooms[name])  # of equal ones the first
    seats = rooms[limit]
    if seats <= 1:
        return plan
    at_once = min(num_packs * seats, wanted)
    return replace(plan, num_gpus=num_packs, per_gpu=seats, at_once=at_once, limit=limit, in_packs=True)


def pack_mb(run_mb: float, num_runs: int) -> float:
    """Return what a pack takes of a GPU's memory: CUDA's own once, and the rest of a run for each of its runs.

    Args:
        run_mb: what one run takes alone, CUDA's own among it.
        num_runs: in the pack.
    """
    return CONTEXT_MB + num_runs * max(run_mb - CONTEXT_MB, 0.0)


def _runs_in_memory(run_mb: float, memory_mb: float) -> int:
    """Return how many runs of a pack a memory holds with the margin, of those that could be in one."""
    held = [num for num in range(1, MOST_IN_PACK + 1) if MARGIN * pack_mb(run_mb, num) <= memory_mb]
    return max(held, default=0)


def _per_gpu_by_cpus(machine: GpuMachine, cpu: float) -> int:
    """Return how many runs the processors of a machine start for each of its GPUs, at least 1 if they start any."""
    runs = int(machine.cpus / cpu + _TOLERANCE)
    return max(runs // machine.num_gpus, 1) if runs else 0


def _per_gpu_by_memory(machine: GpuMachine, run_mb: float) -> int:
    there = machine.memory_mb or 0.0
    if run_mb > there:
        raise UserError(
            f"a run needs about {run_mb / 1000:.1f} GB of a GPU's memory, and a GPU of {machine.name} has "
            f"{there / 1000:.1f}: lower batch_size or the networks' sizes, or leave it out with --gpus 0 or in Ray"
        )
    return max(int(there / (MARGIN * max(run_mb, 1.0))), 1)
