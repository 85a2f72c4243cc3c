"""Repairs a sweep: runs that have ended and whose files are damaged are trained again."""

from __future__ import annotations

from functools import partial

from rich.console import Console

from tuner.errors import SweepError
from tuner.execution.preflight import check_storage
from tuner.execution.ray_tune.node_checks import verify_nodes
from tuner.execution.ray_tune.placing import place_sweep
from tuner.execution.ray_tune.runner import execute
from tuner.execution.ray_tune.start import start_ray
from tuner.search.repair import RepairQueue
from tuner.sweep.folder import SweepFolder
from tuner.tracking.sync import warn


def repair_runs(sweep: SweepFolder, console: Console, *, insecure: bool = False) -> None:
    """Train the runs of a sweep again whose metrics or last checkpoints are damaged, up to where they had ended.

    Every file of every ended run is read: this takes a while. Nothing is deleted. The caller holds the sweep's lock.

    Args:
        sweep: the sweep.
        console: says what is done.
        insecure: see `tuner.execution.driver.drive`.

    Raises:
        UserError: the cluster lacks what a run asks for.
        SweepError: a run could not be repaired, or the repair was interrupted; the same command goes on.
    """
    tell = partial(warn, console)
    queue = RepairQueue(sweep, tell)
    if queue.num_left:
        check_storage(sweep, queue.num_left)
        start_ray(insecure=insecure, gpu=sweep.gpus.device)
        context = verify_nodes(sweep)
        placement = place_sweep(sweep, queue.num_left, context, tell)
        execute(
            queue,
            placement.resources,
            context=context,
            timeout_s=sweep.space.budget.trial_timeout,
            max_concurrent=placement.at_once,
            name=sweep.id,
            tell=tell,
        )
    problems = list(queue.failures)
    if queue.num_left:
        problems.append(f"{queue.num_left} runs are left: `tuner resume {sweep.name} --repair` goes on")
    if problems:
        raise SweepError("\n".join(problems))
    console.print("Every run that has ended has its metrics and its last checkpoint", highlight=False)
