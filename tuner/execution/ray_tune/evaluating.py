"""Evaluates the runs of a sweep on a cluster: each is a task of Ray's, on a GPU if there is one; the driver waits."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import ray

from trainables.config.plugins.user_code import provide
from trainables.storage.checkpoint import RunCheckpoint
from trainables.storage.sweep_store import SweepStore
from trainables.worker import device
from trainables.worker.context import WorkerContext
from trainables.worker.packages import ensure_packages
from tuner.errors import CheckpointError, TunerError, UserError
from tuner.execution.ray_tune.capacity import await_machines, machines, num_fitting
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.sweep.runs import Tier

_LOOK_S = 2.0  # so often machines are counted, which may join or leave, and it is asked whether a task may begin


@dataclass(frozen=True)
class EvaluationTask:
    """A run that is to be evaluated.

    Attributes:
        key: of the run.
        settings: of the run's configuration.
        checkpoint: of its last report, as the driver sees it.
        tier: by which attacks.
        num_images: only the first test images; None for all.
        autoattack: whether AutoAttack standard is run on the same images.
        num_threads: that torch has.
        context: where the sweep's storage and data are.
        gpu: share of a GPU that it has.
    """

    key: str
    settings: dict[str, Any]
    checkpoint: RunCheckpoint
    tier: Tier
    num_images: int | None
    autoattack: bool
    num_threads: int
    context: WorkerContext
    gpu: float = 0.0


Problem = Literal["", "checkpoint", "memory", "mistake"]


@dataclass(frozen=True)
class Evaluated:
    """What came of a task.

    Attributes:
        results: see `trainables.judging.saved.evaluate_classifier`; None if there is a problem.
        seconds: that it took.
        where: machine and device.
        problem: kind of what went wrong, empty if nothing did.
        reason: of it.
    """

    results: dict[str, Any] | None
    seconds: float = 0.0
    where: str = ""
    problem: Problem = ""
    reason: str = ""


def evaluate_on_cluster(
    tasks: Sequence[EvaluationTask],
    resources: RunResources,
    *,
    workers: int | None,
    tell: Callable[[str], object],
    may_begin: Callable[[], bool],
) -> Iterator[tuple[str, Evaluated]]:
    """Evaluate runs on the cluster that this process is connected to, and yield what comes of each, by its key.

    A task whose machine dies is done again, and one that finds no more memory in its share of a GPU gets a whole one.

    Args:
        tasks: the runs.
        resources: of one task.
        workers: how many are evaluated at once; by default as many as fit the cluster.
        tell: says to a person what is waited for.
        may_begin: returns whether another task may begin; once none may, those that have begun are the last.

    Raises:
        UserError: the cluster lacks what a task asks for, or a task's worker was killed again and again.
    """
    await_machines(resources, tell)
    waiting = [replace(task, gpu=resources.gpu) for task in reversed(tasks)]
    pending: dict[Any, EvaluationTask] = {}
    try:
        while True:
            goes_on = may_begin()  # also while all are busy: requests are taken there
            at_once = workers or max(num_fitting(resources, machines()), 1)
            while goes_on and waiting and len(pending) < at_once:
                task = waiting.pop()
                pending[_submit(task, resources)] = task
            if not pending:
                return
            done, _ = ray.wait(list(pending), num_returns=1, timeout=_LOOK_S)
            for reference in done:
                task = pending.pop(reference)
                evaluated = _result(reference)
                if evaluated.problem == "memory" and 0 < task.gpu < 1:
                    tell(f"{task.key}: {evaluated.reason}; it is evaluated again with a whole GPU")
                    waiting.append(replace(task, gpu=1.0))
                else:
                    yield task.key, evaluated
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)


def _submit(task: EvaluationTask, resources: RunResources) -> Any:
    options = {"num_cpus": resources.cpu, "num_gpus": task.gpu}
    return ray.remote(_evaluate).options(**options).remote(task)


def _result(reference: Any) -> Evaluated:
    try:
        evaluated: Evaluated = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:  # after Ray's own retries
        raise UserError(
            f"a worker died, perhaps for want of memory: try again with fewer --workers\n{str(error).strip()}"
        ) from error
    return evaluated


def _evaluate(task: EvaluationTask) -> Evaluated:
    """Evaluate a run in a worker."""
    where = "cpu"
    try:
        where = device.own_device(task.gpu)
        device.prepare(where, task.gpu)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tuner-run-", ignore_cleanup_errors=True) as scratch:
            results = _measure(task, _checkpoint_here(task, Path(scratch)), where)
        return Evaluated(results, time.monotonic() - started, f"{socket.gethostname()} ({where})")
    except CheckpointError as error:
        return Evaluated(None, problem="checkpoint", reason=str(error))
    except device.OutOfMemoryError:
        return Evaluated(None, problem="memory", reason=device.memory_advice(where, task.gpu))
    except TunerError as error:
        return Evaluated(None, problem="mistake", reason=str(error))


def _checkpoint_here(task: EvaluationTask, scratch: Path) -> RunCheckpoint:
    """Return the checkpoint where this machine has it; from an object store, it is fetched into a folder."""
    context = task.context
    if context.store_url is None:
        return task.checkpoint
    store = SweepStore(scratch, context.store_url)
    folder = scratch / task.checkpoint.folder.relative_to(context.store_root)
    store.fetch_folder(folder)
    return replace(task.checkpoint, folder=folder)


def _measure(task: EvaluationTask, checkpoint: RunCheckpoint, where: str) -> dict[str, Any]:
    from trainables.judging.saved import evaluate_classifier, load_run_classifier

    ensure_packages(task.settings.get("code", {}), task.context.sweep_place)
    for source in task.context.code.values():
        provide(source.encode())
    return evaluate_classifier(
        load_run_classifier(task.settings, checkpoint),
        "test",
        tier=task.tier,
        data=Path(task.context.data) if task.context.data else None,
        shared=task.context.shared_data,
        device=where,
        num_images=task.num_images,
        num_threads=task.num_threads,
        autoattack=task.autoattack,
    )
