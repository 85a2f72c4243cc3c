"""Whole runs of `gan`'s first configuration with their evaluations, one a process: in one process and in several."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import multiprocessing

from tests.gpu.measuring import Rows
from tests.gpu.recipes import GENERATOR, build, on
from trainables.data.tensors import Dataset
from trainables.training.loop import TrainingLoop

CASES = (
    ("graphs", 8, 12),
    ("graphs", 16, 12),
    ("graphs", 1, 15),
    ("eager", 8, 15),
    ("eager", 1, 20),
)
"""How updates run, the number of processes that share the GPU, and the seconds after which no report is begun."""


def measure(rows: Rows, dataset: Dataset) -> None:
    for how, num_processes, limit_s in CASES:
        what = f"{how}, {num_processes} process{'es' if num_processes > 1 else ''}"
        rows.attempt(
            what,
            lambda how=how, num=num_processes, limit_s=limit_s: _measured(how, num, limit_s, dataset),
            needs_s=limit_s / 2,
        )


def side_by_side(num_processes: int, limit_s: float, serve: Callable[..., None], *arguments: Any) -> list[Any]:
    """Run processes at the same time and return what each puts into the queue.

    Args:
        num_processes: how many.
        limit_s: about how many seconds they take.
        serve: called in each with its number, the arguments, a barrier of all, and the queue.
        arguments: see `serve`.

    Raises:
        RuntimeError: one put an ``error``.
    """
    context = multiprocessing.get_context("fork")  # the dataset is there already, and CUDA is not started yet
    barrier, queue = context.Barrier(num_processes), context.Queue()
    processes = [
        context.Process(target=serve, args=(number, *arguments, barrier, queue), daemon=True)
        for number in range(num_processes)
    ]
    for process in processes:
        process.start()
    try:
        results = [queue.get(timeout=limit_s + 60) for _ in processes]
    finally:
        for process in processes:
            process.join(5)
            process.kill()
    if errors := [result["error"] for result in results if "error" in result]:
        raise RuntimeError(errors[0])
    return results


def _measured(how: str, num_processes: int, limit_s: float, dataset: Dataset) -> dict[str, Any]:
    """Run processes side by side; each has a whole run, or as much of it as fits."""
    results = side_by_side(num_processes, limit_s, _serve, how, limit_s, dataset)
    per_second = sum(result["progress"] / result["seconds"] for result in results)
    return {
        "trials_per_hour": 3600 * per_second,
        "seconds": max(result["seconds"] for result in results),
        "progress": min(result["progress"] for result in results),
        **{name: results[0][name] for name in ("train_s", "evaluation_s", "cycles", "robust", "mb")},
    }


def _serve(seed: int, how: str, limit_s: float, dataset: Dataset, barrier: Any, queue: Any) -> None:
    try:
        loop = _build(seed, how, on(dataset, "cuda"))
        with torch.cuda.stream(torch.cuda.Stream()):
            torch.zeros(8, 8, device="cuda").matmul(torch.zeros(8, 8, device="cuda")).sum().item()
        barrier.wait(60)
        queue.put(_train(loop, limit_s))
    except Exception as error:
        queue.put({"error": f"{type(error).__name__}: {error}"[:300]})
        raise


def _build(seed: int, how: str, dataset: Dataset) -> TrainingLoop:
    settings = {**GENERATOR, "seed": seed}
    return build(settings, dataset, graphs=how == "graphs")


def _train(loop: TrainingLoop, limit_s: float) -> dict[str, Any]:
    started, metrics = time.monotonic(), {}
    while not loop.done and time.monotonic() < started + limit_s:
        metrics = loop.step()
    return {
        "seconds": time.monotonic() - started,
        "progress": loop.progress,
        "cycles": loop.turns.cycles,  # type: ignore[attr-defined]
        "mb": torch.cuda.memory_reserved() / 1e6,
        **{name: metrics[name] for name in ("train_s", "evaluation_s")},
        "robust": metrics.get("robust", metrics["watch/robust"]),
    }
