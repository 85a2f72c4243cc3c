"""What a launch would do, without doing it: how many runs, for about how long, with how much memory, on what.

The speed is measured: a trial and each kind of baseline train for a moment in this process, on the real images. Or it
is given, as the seconds of one report of a trial elsewhere.
"""

from __future__ import annotations

import itertools
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.configurations import baseline_configurations, report_every
from search_spaces.schema import MAX_TRIALS, Space
from trainables.common.process_state import num_local_cpus
from trainables.common.words import counted
from trainables.data import files as data_files
from trainables.evaluation.metrics import metric_named
from tuner.cluster import local_ray
from tuner.errors import UserError
from tuner.execution.preflight import num_local_gpus
from tuner.search.distributions import drawn_configurations
from tuner.sweep.status import format_duration

if TYPE_CHECKING:
    from trainables.training.loop import TrainingLoop
    from tuner.execution.ray_tune.gpu_plan import GpuPlan
    from tuner.execution.ray_tune.gpus import Placement

_MEASURED_S = 2.0
"""For how long each kind of run trains at most."""
_RAY_MB = 600
"""What Ray's own processes take on this machine, measured at start."""
_FASTER_IN_PACK = 4
"""Times as many runs an hour as one process trains on a GPU, in a pack of 16: docs/howto/gpu.md."""
_TRIAL_OF_PACK_MB = 180
"""What the process takes that stands for a run of a pack, with Ray and Tune and without torch; measured likewise."""
_RANKED_PER_WATCHED = 16
"""How many times the attacks at the end of a run cost on an image what those while it trains do: 120 passes and Square
on a quarter of the images by 10."""


@dataclass(frozen=True)
class Estimate:
    """What a launch would do.

    Attributes:
        trials: number of trials; None if other budgets end the search.
        runs: number of all runs, baselines included.
        at_once: how many runs there are at a time; None on a cluster, whose size is not known yet.
        seconds: of the whole sweep if nothing is pruned; None if it could not be measured.
        memory_mb: of all processes on this machine; None likewise.
        longest_s: of one trial.
        compute: of all runs if nothing is pruned, in epochs of standard training; None without a number of trials.
        pruned_compute: of all runs if successive halving stops as many trials as it is set to; None if it is not used.
        pruned_seconds: of the whole sweep then; None likewise, and if it could not be measured.
    """

    trials: int | None
    runs: int
    at_once: int | None
    seconds: float | None
    memory_mb: float | None
    longest_s: float | None
    compute: float | None = None
    pruned_compute: float | None = None
    pruned_seconds: float | None = None


def estimate(
    space: Space,
    num_trials: int | None,
    data: Path | None,
    max_concurrent: int | None,
    *,
    num_gpus: int | None = None,
    report_s: float | None = None,
    placement: Placement | None = None,
) -> Estimate:
    """Return what a sweep of a space would take on this machine, or on some number of GPUs.

    Args:
        space: that is searched.
        num_trials: instead of the space's number.
        data: folder of the dataset's files; by default they are in the cache.
        max_concurrent: how many runs there may be at once.
        num_gpus: on so many GPUs, instead of on this machine.
        report_s: seconds that a report of a trial and what comes before it take there; by default they are measured.
        placement: where runs would be trained, if GPUs are to be used where there are any.

    Raises:
        UserError: there is no GPU here to measure on.
    """
    trials = num_trials or (None if space.num_trials >= MAX_TRIALS else space.num_trials)
    baselines = baseline_configurations(space)
    num_seeds = min(space.seeds, math.ceil((trials or 1) / space.num_grid_points)) if space.seeds > 1 else 1
    num_baselines = len(baselines) * num_seeds
    plan = placement.plan if placement else None
    pack = placement.resources.pack if placement else space.resources.pack or 1
    at_once = (
        _at_once(space, max_concurrent, plan, pack)
        if num_gpus is None
        else _at_once_on(num_gpus, space, max_concurrent)
    )
    runs = (trials or 0) + num_baselines
    share = _pruned_share(space)
    compute, pruned_compute = _compute_of(space, trials, num_baselines, share)
    planned = Estimate(trials, runs, at_once, None, None, None, compute, pruned_compute)

    def timed(trial_s: float, baselines_s: float, memory_mb: float | None = None) -> Estimate:
        # The runs of a pack share a device: on a processor they train one after the other.
        has_gpu = num_gpus is not None or bool(placement and placement.resources.gpu)
        devices = math.ceil((at_once or 1) / pack) * (min(pack, _FASTER_IN_PACK) if has_gpu else 1)
        whole, pruned = (((trials or 0) * trial_s * part + baselines_s) / devices for part in (1.0, share))
        return replace(
            planned,
            seconds=None if trials is None else whole,
            pruned_seconds=None if pruned_compute is None else pruned,
            memory_mb=memory_mb,
            longest_s=trial_s,
        )

    if report_s is not None:
        each_s = space.budget.compute / report_every(space) * report_s
        return timed(each_s, num_baselines * each_s)
    if num_gpus is not None and not num_local_gpus():
        raise UserError("this machine has no GPU to measure a report on: say what one takes there, like --report 3.5s")
    if space.dataset.content is None and not data_files.status(space.dataset.name, data).present:
        return planned
    device = "cuda" if num_gpus is not None or (plan and local_ray.is_wanted()) else "cpu"
    runs_of_each_kind = (*drawn_configurations(space), *baselines.values())
    seconds = [_seconds_of(settings, space, data, device) for settings in runs_of_each_kind]
    of_baselines = sum(seconds[1:]) * num_seeds
    if num_gpus is not None:
        return timed(seconds[0], of_baselines)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    memory = own * at_once + own + _RAY_MB if at_once else None
    if at_once and pack > 1:
        memory = own * math.ceil(at_once / pack) + _TRIAL_OF_PACK_MB * at_once + own + _RAY_MB
    return timed(seconds[0], of_baselines, memory)


def _compute_of(
    space: Space, trials: int | None, num_baselines: int, share: float
) -> tuple[float | None, float | None]:
    """Return the compute of all runs if nothing is pruned, and if successive halving stops trials as it is set to."""
    if trials is None:
        return None, None
    each = space.budget.compute
    whole = (trials + num_baselines) * each
    return whole, (trials * share + num_baselines) * each if share < 1 else None


def _pruned_share(space: Space) -> float:
    """Return the share of its compute that a trial gets on average if one of `reduction_factor` passes each rung."""
    halving = space.search.pruner.successive_halving
    if halving is None or halving.min_resource is None or halving.min_resource >= space.budget.compute:
        return 1.0
    spent, alive, rung, begun = 0.0, 1.0, halving.min_resource, 0.0
    while rung < space.budget.compute:
        spent, begun = spent + alive * (rung - begun), rung
        alive, rung = alive / halving.reduction_factor, rung * halving.reduction_factor
    return (spent + alive * (space.budget.compute - begun)) / space.budget.compute


def plan_lines(space: Space, found: Estimate, num_gpus: int | None) -> list[str]:
    """Return what a search would cost, in sentences.

    Args:
        space: that would be searched.
        found: its estimate.
        num_gpus: see `estimate`.
    """
    names = ("total_compute", "time", "target", "until")
    also = ", ".join(name for name in names if getattr(space.budget, name) is not None)
    trials = "trials until a budget is spent" if found.trials is None else counted(found.trials, "trial")
    baselines = counted(found.runs - (found.trials or 0), "baseline")
    lines = [f"{space.name}: {trials}, {baselines}{f'; {also} may end it sooner' if also else ''}"]
    lines += _compute_lines(space, found)
    where = "this machine" if num_gpus is None else counted(num_gpus, "GPU")
    at_once = "" if found.at_once is None else f", {found.at_once} at once"
    if found.longest_s is None:
        how = f"`tuner data {space.dataset.name}` fetches it, or --report says what a report takes"
        return [*lines, f"time: not measured, because the data is not here; {how}"]
    report_s = found.longest_s * report_every(space) / space.budget.compute
    lines.append(f"a trial: {format_duration(found.longest_s)}, {report_s:.2g} s for a report and what comes before it")
    if found.seconds is not None and found.at_once is not None:
        least = "" if found.pruned_seconds is None else f"about {format_duration(found.pruned_seconds)}, "
        least += "at most " if space.search.pruner.chosen else ""
        lines.append(f"time on {where}{at_once}: {least}{format_duration(found.seconds)}")
    return lines


def _compute_lines(space: Space, found: Estimate) -> list[str]:
    if found.compute is None:
        return []
    halving = space.search.pruner.successive_halving
    line = f"compute: at most {found.compute:,.0f} epochs of standard training"
    if found.pruned_compute is not None and halving is not None:
        line += (
            f", about {found.pruned_compute:,.0f} if one in {halving.reduction_factor} trials goes on at "
            f"{halving.min_resource:g} and at each multiple"
        )
    return [line]


def estimate_lines(space: Space, found: Estimate, name: str, home: str, placement: Placement) -> list[str]:
    """Return an estimate in sentences."""
    return list(_lines(space, found, name, home, placement))


def _lines(space: Space, found: Estimate, name: str, home: str, placement: Placement) -> Iterator[str]:
    varying = sum(parameter.varies for parameter in space.parameters)
    trials = "trials until a budget is spent" if found.trials is None else counted(found.trials, "trial")
    baselines = counted(len(space.baselines), "baseline")
    yield (
        f"Would launch {name} in {home}: {trials} of {space.trainable} over {counted(varying, 'varying setting')}, and "
        f"{baselines} ({', '.join(baseline.name for baseline in space.baselines) or 'none'})"
    )
    objectives = " and ".join(metric_named(objective.metric).words for objective in space.objectives)
    yield (
        f"data: {space.dataset.name}; epsilon {space.evaluation.epsilon:g}; objective: {objectives}; a compute of "
        f"{space.budget.compute:g} epochs per run"
    )
    yield from _compute_lines(space, found)
    resources = f"{space.resources.cpu:g} {'processor' if space.resources.cpu == 1 else 'processors'}"
    resources += f", {placement.resources.gpu:g} GPU" if placement.resources.gpu else ""
    pack = placement.resources.pack
    per = "run" if pack == 1 else f"pack of {pack} runs"
    if found.at_once is None:
        yield f"on: the Ray cluster of RAY_ADDRESS, {resources} per {per}"
    else:
        machine = f"{counted(num_local_cpus(), 'processor')}, {counted(num_local_gpus(), 'GPU')}"
        yield f"on: this machine ({machine}), {resources} per {per}, {found.at_once} at once"
    yield from placement.lines
    if found.longest_s is None:
        fetch = f"`tuner data {space.dataset.name}` fetches it"
        yield f"time and memory: not measured, because the data is not here; {fetch}"
        return
    rough = "roughly, measured over a few minibatches of each kind of run, as if nothing else ran here"
    if found.seconds is None or found.at_once is None:
        yield f"time: {format_duration(found.longest_s)} per trial ({rough} on this machine)"
    else:
        pruned = "at most " if space.search.pruner.model_dump(exclude_none=True) else ""
        yield (
            f"time: {pruned}{format_duration(found.seconds)}, {format_duration(found.longest_s)} per trial that runs "
            f"to its end ({rough}); Ray's start and the pictures take some 10 s more"
        )
    if found.memory_mb is not None:
        yield f"memory: about {found.memory_mb / 1000:.1f} GB, Ray's processes among it"
    yield "Nothing was launched, and nothing was written."


def _at_once(space: Space, max_concurrent: int | None, plan: GpuPlan | None, pack: int) -> int | None:
    if not local_ray.is_wanted():
        return None
    room = [math.inf if max_concurrent is None else max_concurrent, plan.at_once if plan else math.inf]
    for there, wanted in ((num_local_cpus(), space.resources.cpu), (num_local_gpus(), space.resources.gpu)):
        if wanted:
            room.append(there // wanted * pack)
    return max(int(min(room)), 1) if math.isfinite(min(room)) else num_local_cpus()


def _at_once_on(num_gpus: int, space: Space, max_concurrent: int | None) -> int:
    """Return how many runs some GPUs train at once; one each, if the space does not say how many share one."""
    room = int(num_gpus / (space.resources.gpu or 1.0) + 1e-9) * (space.resources.pack or 1)
    return room if max_concurrent is None else min(room, max_concurrent)


def _seconds_of(settings: Mapping[str, Any], space: Space, data: Path | None, device: str) -> float:
    """Return about how long a run takes: measured over its first minibatches, after one that warms up."""
    from trainables.config import parse
    from trainables.data.tensors import load_dataset
    from trainables.training import registry
    from trainables.training.machine.runtime import set_num_threads
    from tuner.results.bundles.export import num_threads

    set_num_threads(num_threads(space.resources.cpu))
    # Without pretraining on clean images, which costs less than what follows it.
    config = parse({**settings, **({"pretrain": 0.0} if "pretrain" in settings else {})})
    loop = registry.build(config, load_dataset(config.dataset, folder=data, device=device))
    clock = _clock_of(loop, num_threads(space.resources.cpu))
    per_epoch = _seconds_per_epoch(loop, clock)
    started = clock()
    loop.evaluate("watch")
    watched = clock() - started
    reports = config.compute / report_every(space)
    ranked = watched * _RANKED_PER_WATCHED * config.evaluation.rank_images / config.evaluation.watch_images
    return float(config.compute * per_epoch + reports * watched + ranked)


def _clock_of(loop: TrainingLoop, threads: int) -> Callable[[], float]:
    """Return a clock that other processes of this machine do not disturb: of what this one computes on its processors.

    Where a GPU computes, it is the clock on the wall.
    """
    return time.monotonic if loop.device.type != "cpu" else lambda: time.process_time() / threads


def _seconds_per_epoch(loop: TrainingLoop, clock: Callable[[], float]) -> float:
    loop.set_learning_rate()
    loop.train_minibatch()
    loop.updates.finish()
    started, before = clock(), loop.meter.compute
    for _ in itertools.takewhile(lambda _: clock() - started < _MEASURED_S, range(50)):
        loop.train_minibatch()
    loop.updates.finish()
    return (clock() - started) / max(loop.meter.compute - before, 1e-9)
