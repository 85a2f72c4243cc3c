"""What a launch would do, without doing it: how many runs, for about how long, with how much memory, on what.

The speed is measured: a trial and each kind of baseline train for a moment in this process, on the real images.
"""

from __future__ import annotations

import itertools
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from search_spaces.configurations import baseline_configurations, configuration_for, report_every
from search_spaces.schema import MAX_TRIALS, Space
from trainables.data import files as data_files
from trainables.evaluation.metrics import metric_named
from tuner.cluster import local_ray
from tuner.execution.preflight import num_local_cpus, num_local_gpus
from tuner.search.distributions import suggest
from tuner.sweep.status import format_duration

if TYPE_CHECKING:
    from trainables.training.loop import TrainingLoop

_MEASURED_S = 2.0
"""For how long each kind of run trains at most."""
_RAY_MB = 600
"""What Ray's own processes take on this machine, measured at start."""
_RANKED_PER_WATCHED = 12
"""How many times the attacks at the end of a run cost on an image what those while it trains do: 120 passes by 10."""


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
    """

    trials: int | None
    runs: int
    at_once: int | None
    seconds: float | None
    memory_mb: float | None
    longest_s: float | None


def estimate(space: Space, num_trials: int | None, data: Path | None, max_concurrent: int | None) -> Estimate:
    """Return what a sweep of a space would take on this machine.

    Args:
        space: that is searched.
        num_trials: instead of the space's number.
        data: folder of the dataset's files; by default they are in the cache.
        max_concurrent: how many runs there may be at once.
    """
    trials = num_trials or (None if space.num_trials >= MAX_TRIALS else space.num_trials)
    baselines = baseline_configurations(space)
    at_once = _at_once(space, max_concurrent)
    runs = (trials or 0) + len(baselines)
    if not data_files.status(space.dataset.name, data).present:
        return Estimate(trials, runs, at_once, None, None, None)
    seconds = [_seconds_of(settings, space, data) for settings in (_some_trial(space), *baselines.values())]
    total = None if trials is None else (trials * seconds[0] + sum(seconds[1:])) / (at_once or 1)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    memory = own * at_once + own + _RAY_MB if at_once else None
    return Estimate(trials, runs, at_once, total, memory, seconds[0])


def estimate_lines(space: Space, found: Estimate, name: str, home: str) -> list[str]:
    """Return an estimate in sentences."""
    return list(_lines(space, found, name, home))


def _lines(space: Space, found: Estimate, name: str, home: str) -> Iterator[str]:
    varying = sum(parameter.varies for parameter in space.parameters)
    trials = "trials until a budget is spent" if found.trials is None else f"{found.trials:,} trials"
    yield (
        f"Would launch {name} in {home}: {trials} of {space.trainable} over {varying} varying settings, and "
        f"{len(space.baselines)} baselines ({', '.join(baseline.name for baseline in space.baselines) or 'none'})"
    )
    objectives = " and ".join(metric_named(objective.metric).words for objective in space.objectives)
    yield (
        f"data: {space.dataset.name}; epsilon {space.evaluation.epsilon:g}; objective: {objectives}; a compute of "
        f"{space.budget.compute:g} epochs per run"
    )
    resources = f"{space.resources.cpu:g} {'processor' if space.resources.cpu == 1 else 'processors'}"
    resources += f", {space.resources.gpu:g} GPU" if space.resources.gpu else ""
    if found.at_once is None:
        yield f"on: the Ray cluster of RAY_ADDRESS, {resources} per run"
    else:
        yield (
            f"on: this machine ({num_local_cpus()} processors, {num_local_gpus()} GPUs), {resources} per run, "
            f"{found.at_once} at once"
        )
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
            f"to its end ({rough})"
        )
    if found.memory_mb is not None:
        yield f"memory: about {found.memory_mb / 1000:.1f} GB, Ray's processes among it"
    yield "Nothing was launched, and nothing was written."


def _at_once(space: Space, max_concurrent: int | None) -> int | None:
    if not local_ray.is_wanted():
        return None
    room = [math.inf if max_concurrent is None else max_concurrent]
    for there, wanted in ((num_local_cpus(), space.resources.cpu), (num_local_gpus(), space.resources.gpu)):
        if wanted:
            room.append(there // wanted)
    return max(int(min(room)), 1) if math.isfinite(min(room)) else num_local_cpus()


def _some_trial(space: Space) -> dict[str, Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    return configuration_for(space, space.settings(lambda parameter: suggest(trial, parameter)), 0)


def _seconds_of(settings: Mapping[str, Any], space: Space, data: Path | None) -> float:
    """Return about how long a run takes: measured over its first minibatches, after one that warms up."""
    from trainables.config import parse
    from trainables.data.tensors import load_dataset
    from trainables.training import registry
    from trainables.training.machine.runtime import set_num_threads
    from tuner.results.export import num_threads

    set_num_threads(num_threads(space.resources.cpu))
    # Without pretraining on clean images, which costs less than what follows it.
    config = parse({**settings, **({"pretrain": 0.0} if "pretrain" in settings else {})})
    loop = registry.build(config, load_dataset(config.dataset, folder=data))
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
    started, before = clock(), loop.meter.compute
    for _ in itertools.takewhile(lambda _: clock() - started < _MEASURED_S, range(50)):
        loop.train_minibatch()
    return (clock() - started) / max(loop.meter.compute - before, 1e-9)
