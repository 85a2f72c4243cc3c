"""How many runs share each GPU of a cluster: from its memory, the memory of one run and the processors beside it.

Nothing here asks a cluster or a GPU: `tuner.execution.ray_tune.gpus` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tuner.errors import UserError

MOST_PER_GPU = 8
"""With 16 processes on one GPU no more runs were trained an hour than with 8: docs/howto/gpu.md."""
MARGIN = 1.25
"""What a run is given of a GPU's memory, by what was measured: other configurations need more than the measured one."""
_PRECISION = 10_000  # Ray counts in ten-thousandths of a GPU
_TOLERANCE = 1e-9

Limit = Literal["memory", "processors", "runs", "processes"]
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
        per_gpu: how many runs share one.
        at_once: how many runs there are at a time; fewer than `per_gpu` on each where a machine has few processors.
        limit: what keeps more runs from sharing a GPU.
        run_mb: memory that one run was measured to need; None if it was not measured.
        memory_mb: of the smallest GPU; None if it is not known.
        cpu: processors of one run.
    """

    num_gpus: int
    num_present: int
    per_gpu: int
    at_once: int
    limit: Limit
    run_mb: float | None
    memory_mb: float | None
    cpu: float

    @property
    def share(self) -> float:
        """What one run occupies of a GPU."""
        return _PRECISION // self.per_gpu / _PRECISION

    @property
    def resources(self) -> RunResources:
        """What one run occupies."""
        return RunResources(self.cpu, self.share)

    def describe(self) -> str:
        """Return the plan in a sentence or two."""
        gpus = f"{self.num_gpus} of {self.num_present}" if self.num_gpus < self.num_present else f"{self.num_gpus}"
        runs = "1 run" if self.per_gpu == 1 else f"{self.per_gpu} runs"
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
        }[self.limit]


def plan_gpus(
    machines: Sequence[GpuMachine],
    cpu: float,
    wanted: int,
    *,
    run_mb: float | None = None,
    max_gpus: int | None = None,
) -> GpuPlan | None:
    """Return how runs share the GPUs of machines; None if no machine with a GPU has the processors for one run.

    Every run gets the same share, so the smallest GPU decides how much memory a share is.

    Args:
        machines: those that have GPUs.
        cpu: processors of one run.
        wanted: how many runs there could be at once, at least 1.
        run_mb: memory that a run was measured to need; None if it is not known.
        max_gpus: how many GPUs may be used, at least 1; by default all.

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
    return GpuPlan(num_gpus, present, per_gpu, at_once, limit, run_mb, memory_mb, cpu)


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
