"""Where the runs of a sweep are trained: asks a cluster for its GPUs, measures a run on each machine, and plans.

What is measured is in `trainables.worker.footprint`, and what follows from it in `tuner.execution.ray_tune.gpu_plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search_spaces.schema import Resources
from trainables.common.process_state import num_local_cpus
from trainables.worker.context import WorkerContext
from trainables.worker.footprint import Footprint, measure_gpu
from tuner.cluster import local_ray
from tuner.cluster.ray_internals import draining_nodes
from tuner.errors import UserError
from tuner.execution.preflight import num_local_gpus
from tuner.execution.ray_tune.gpu_plan import GpuMachine, GpuPlan, RunResources, plan_gpus
from tuner.execution.ray_tune.pack_plan import describe_pack

_ANSWER_S = 120.0
"""How long a machine may take to measure a run; other sweeps may have all of its GPUs."""
_TRACE = 0.01
"""Of a GPU, for measuring a run: whole ones are rarely free."""


@dataclass(frozen=True)
class GpuRequest:
    """What a person has asked for with ``--gpus`` and ``--device``.

    Attributes:
        most: how many GPUs may be used; 0 for none, None for all.
        device: ``cuda`` or one like ``cuda:1`` if there must be a GPU; None if runs may train on processors.
    """

    most: int | None = None
    device: str | None = None

    def gpu_of(self, resources: Resources) -> float | None:
        """Return what a run is to occupy of a GPU, None if that is left to us; the request overrides the space."""
        if self.most == 0:
            return 0.0
        is_asked_for = self.most is not None or self.device is not None
        return None if resources.gpu == 0 and is_asked_for else resources.gpu


@dataclass(frozen=True)
class Placement:
    """Where the runs of a sweep are trained.

    Attributes:
        resources: of one run, or of one pack of runs.
        at_once: how many runs there may be at a time because of ``--gpus``; None for as many as fit.
        plan: how runs share GPUs, if that was left to us and there are any.
        lines: what a person is to know of it.
    """

    resources: RunResources
    at_once: int | None = None
    plan: GpuPlan | None = None
    lines: tuple[str, ...] = ()


class GpuCluster(Protocol):
    """Machines with GPUs, on which a run can be measured."""

    def machines(self) -> dict[str, GpuMachine]:
        """Return the machines by their ids."""
        ...

    def measure(
        self, machines: Mapping[str, GpuMachine], settings: Mapping[str, Any] | None, context: WorkerContext
    ) -> dict[str, Footprint]:
        """Return what a run takes on each machine, by their ids; machines that do not answer are missing.

        Args:
            machines: by their ids.
            settings: see `trainables.worker.footprint.measure_gpu`.
            context: likewise.
        """
        ...


def place_runs(
    resources: Resources,
    request: GpuRequest,
    wanted: int,
    settings: Callable[[], Mapping[str, Any] | None],
    context: WorkerContext,
    cluster: GpuCluster | None = None,
) -> Placement:
    """Return where runs are trained.

    Args:
        resources: of one run, as the space has them.
        request: what was asked for beside that.
        wanted: how many runs there could be at once.
        settings: returns the configuration of the run that is measured; None measures none.
        context: where workers find data and code.
        cluster: that has the GPUs; by default that of Ray, which has been started.

    Raises:
        UserError: there must be a GPU and there is none, or a run does not fit one.
    """
    cluster = cluster or RayGpus()
    there, gpu = cluster.machines(), request.gpu_of(resources)
    pack = resources.pack or 1
    if not there:
        return _without_gpus(RunResources(resources.cpu, gpu or 0.0, pack), request)
    if pack > 1 and gpu != 0:
        each = RunResources(resources.cpu, gpu or 0.0, pack)
        return _packs(each, request, there, cluster.measure(there, settings(), context))
    if gpu is None:
        found = cluster.measure(there, settings(), context)
        return _share(resources, request, wanted, there, found)
    if gpu == 0:
        on_processors = RunResources(resources.cpu, pack=pack)
        return Placement(on_processors, lines=(_idle_line(there, request), *_pack_lines(on_processors)))
    at_once = None if request.most is None else max(int(request.most / gpu + 1e-9), 1)
    return Placement(RunResources(resources.cpu, gpu), at_once)


def _without_gpus(each: RunResources, request: GpuRequest) -> Placement:
    if request.device:
        where = "this machine" if local_ray.is_wanted() else "the cluster"
        raise UserError(f"--device {request.device}: Ray finds no GPU on {where}; --device auto trains on processors")
    lines = (f"--gpus {request.most}: there is no GPU, so runs train on processors",) if request.most else ()
    return Placement(each, lines=(*lines, *_pack_lines(each)))


def _pack_lines(each: RunResources) -> tuple[str, ...]:
    return (describe_pack(each, (), None),) if each.pack > 1 else ()


def _packs(
    each: RunResources, request: GpuRequest, there: Mapping[str, GpuMachine], found: Mapping[str, Footprint]
) -> Placement:
    """Return where packs are trained: each has what the space says, or a whole GPU if it leaves that to us with 0."""
    machines, run_mb, lines = _usable(there, found)
    pack = replace(each, gpu=each.gpu or 1.0)
    if not machines:
        if each.gpu or request.device:
            raise UserError("\n".join(["a pack needs a GPU, and no GPU of the cluster can be used", *lines]))
        on_processors = replace(each, gpu=0.0)
        return Placement(on_processors, lines=(*lines, *_pack_lines(on_processors)))
    at_once = None if request.most is None else max(int(request.most / pack.gpu + 1e-9), 1) * pack.pack
    return Placement(pack, at_once, lines=(*lines, describe_pack(pack, machines, run_mb)))


def _share(
    resources: Resources,
    request: GpuRequest,
    wanted: int,
    there: Mapping[str, GpuMachine],
    found: Mapping[str, Footprint],
) -> Placement:
    machines, run_mb, lines = _usable(there, found)
    cpu, in_packs = resources.cpu, resources.pack is None
    plan = plan_gpus(machines, cpu, wanted, run_mb=run_mb, max_gpus=request.most, in_packs=in_packs)
    if plan is not None:
        return Placement(plan.resources, plan.most_at_once if request.most else None, plan, (*lines, plan.describe()))
    if machines:
        lines.append(f"{_count(sum(each.num_gpus for each in machines))} idle: no machine with one has {cpu:g} CPU")
    if request.device:
        raise UserError("\n".join([f"--device {request.device}: no GPU of the cluster can be used", *lines]))
    return Placement(RunResources(cpu), lines=tuple(lines))


def _usable(
    there: Mapping[str, GpuMachine], found: Mapping[str, Footprint]
) -> tuple[list[GpuMachine], float | None, list[str]]:
    """Return the machines whose GPUs can be used, what a run takes of their memory, and what is to be told of others.

    Raises:
        UserError: a run does not fit a GPU alone.
    """
    usable = {node: machine for node, machine in there.items() if _is_usable(found.get(node))}
    lines = [
        f"{_count(machine.num_gpus, machine.name)} left out: {found[node].problem}"
        for node, machine in there.items()
        if node not in usable
    ]
    lines += [
        f"what a run takes of a GPU of {there[node].name} was not measured: {footprint.problem}"
        for node, footprint in found.items()
        if node in usable and footprint.problem
    ]
    for node, footprint in found.items():
        if not footprint.fits:
            raise UserError(
                f"a run needs more than the {(footprint.memory_mb or 0) / 1000:.1f} GB of a GPU of {there[node].name}: "
                "lower batch_size or the networks' sizes, or train on processors with --gpus 0"
            )
    machines = [
        GpuMachine(machine.name, machine.num_gpus, machine.cpus, found[node].memory_mb if node in found else None)
        for node, machine in usable.items()
    ]
    run_mb = max((footprint.run_mb for footprint in found.values() if footprint.run_mb is not None), default=None)
    return machines, run_mb, lines


def _is_usable(footprint: Footprint | None) -> bool:
    """Return whether a GPU can be used; one that did not answer is at work for others."""
    return footprint is None or footprint.memory_mb is not None


def _idle_line(there: Mapping[str, GpuMachine], request: GpuRequest) -> str:
    gpus = _count(sum(machine.num_gpus for machine in there.values()))
    why = "--gpus 0 or --device cpu was asked for" if request.most == 0 else "the space says gpu: 0, not gpu: auto"
    return f"{gpus} idle: {why}"


def _count(num: int, where: str = "") -> str:
    gpus, verb = ("1 GPU", "is") if num == 1 else (f"{num} GPUs", "are")
    return f"{gpus} of {where} {verb}" if where else f"{gpus} {verb}"


class RayGpus:
    """The GPUs of the cluster that this process is connected to."""

    def machines(self) -> dict[str, GpuMachine]:
        """Return the machines with GPUs by the ids of their nodes; those that are drained are as good as gone."""
        leaving = draining_nodes()
        return {
            node["NodeID"]: GpuMachine(
                f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})",
                int(node["Resources"]["GPU"]),
                node["Resources"].get("CPU", 0.0),
            )
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] not in leaving and node["Resources"].get("GPU", 0.0) >= 1
        }

    def measure(
        self, machines: Mapping[str, GpuMachine], settings: Mapping[str, Any] | None, context: WorkerContext
    ) -> dict[str, Footprint]:
        """Return what a run takes on each machine; those that do not answer in time are missing."""
        measure = ray.remote(max_calls=1)(measure_gpu)  # its process gives all memory back
        pending = {
            measure.options(
                num_cpus=0,
                num_gpus=_TRACE,
                max_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            ).remote(settings, context): node
            for node in machines
        }
        done, late = ray.wait(list(pending), num_returns=len(pending), timeout=_ANSWER_S)
        for task in late:
            ray.cancel(task, force=True)
        return {pending[task]: _result(task) for task in done}


class LocalGpus:
    """The GPUs of this machine, without Ray; what is measured is measured in this process."""

    def machines(self) -> dict[str, GpuMachine]:
        """See `GpuCluster`."""
        num = num_local_gpus()
        return {"": GpuMachine("this machine", num, num_local_cpus())} if num else {}

    def measure(
        self, machines: Mapping[str, GpuMachine], settings: Mapping[str, Any] | None, context: WorkerContext
    ) -> dict[str, Footprint]:
        """See `GpuCluster`."""
        return {node: measure_gpu(settings, context) for node in machines}


def _result(task: Any) -> Footprint:
    try:
        footprint: Footprint = ray.get(task)
    except ray.exceptions.RayError as error:
        return Footprint(problem=str(error).strip().splitlines()[0])
    return footprint
