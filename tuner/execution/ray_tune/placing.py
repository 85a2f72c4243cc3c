"""Places the runs of a sweep on the machines of a cluster, and says where."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.configurations import baseline_configurations
from search_spaces.schema import Space
from trainables.data import files as data_files
from trainables.worker.context import WorkerContext
from trainables.worker.footprint import heaviest
from tuner.cluster import local_ray
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.ray_tune.gpus import GpuRequest, LocalGpus, Placement, place_runs
from tuner.execution.ray_tune.start import start_ray
from tuner.search.distributions import drawn_configurations
from tuner.sweep.folder import SweepFolder
from tuner.sweep.identity import GpuUse

_NUM_DRAWN = 16


def place_sweep(
    sweep: SweepFolder,
    num_left: int,
    context: WorkerContext,
    tell: Callable[[str], object],
    *,
    in_packs: bool = True,
) -> Placement:
    """Return where the runs of a sweep are trained; Ray has been started.

    Args:
        sweep: the sweep.
        num_left: how many runs there are to train.
        context: where workers find data and code.
        tell: says where runs are trained, if there are GPUs or packs.
        in_packs: whether runs are trained in packs if the space allows it.

    Raises:
        UserError: see `tuner.execution.ray_tune.gpus.place_runs`.
    """
    resources = sweep.space.resources
    placement = place_runs(
        resources if in_packs else resources.model_copy(update={"pack": 1}),
        GpuRequest(sweep.gpus.most, sweep.gpus.device),
        min(num_left, sweep.max_concurrent or num_left),
        lambda: heaviest_configuration(sweep.space),
        context,
    )
    for line in placement.lines:
        tell(line)
    at_once = [number for number in (placement.at_once, sweep.max_concurrent) if number is not None]
    return replace(placement, at_once=min(at_once, default=None))


def preview_placement(space: Space, use: GpuUse, num_runs: int, data: Path | None) -> Placement:
    """Return where the runs of a sweep would be trained that is not there yet.

    A cluster that RAY_ADDRESS names is asked; without one, no Ray is started. A run is measured only if its images are
    on this machine.

    Args:
        space: that would be searched.
        use: how runs would use GPUs.
        num_runs: how many there could be at once.
        data: folder of the dataset's files; by default they are in the cache.

    Raises:
        UserError: see `tuner.execution.ray_tune.gpus.place_runs`.
    """
    is_local = local_ray.is_wanted()
    if not is_local:
        if not local_ray.answers():
            where = os.environ["RAY_ADDRESS"]
            resources = RunResources(space.resources.cpu, space.resources.gpu or 0.0, space.resources.pack or 1)
            return Placement(resources, lines=(f"GPUs: not known, because no cluster answers at {where}",))
        start_ray()
    dataset = space.dataset
    has_data = dataset.content is not None or data_files.status(dataset.name, data).present
    return place_runs(
        space.resources,
        GpuRequest(use.most, use.device),
        num_runs,
        lambda: heaviest_configuration(space) if has_data else None,
        WorkerContext(data=str(data.absolute()) if data else None),
        LocalGpus() if is_local else None,
    )


def heaviest_configuration(space: Space) -> dict[str, Any]:
    """Return the configuration that probably takes the most memory of some trials that are drawn, and the baselines."""
    return heaviest([*drawn_configurations(space, _NUM_DRAWN), *baseline_configurations(space).values()])
