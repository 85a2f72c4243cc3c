"""Whole runs of `quick`'s first configuration with their evaluations: in one process, in several, and on streams."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import multiprocessing

from tests.gpu.graphed import graphed
from tests.gpu.measuring import Rows
from tests.gpu.recipes import QUICK, on
from trainables.config import parse
from trainables.data.tensors import Dataset
from trainables.training import registry
from trainables.training.loop import TrainingLoop

CASES = (
    ("eager", 1, 30),
    ("graphs", 1, 20),
    ("eager", 8, 15),
    ("graphs", 8, 15),
    ("eager", 16, 15),
    ("graphs", 16, 15),
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
    rows.attempt("graphs, 16 streams of one process", lambda: _on_streams(16, 15, dataset), needs_s=10)


def _measured(how: str, num_processes: int, limit_s: float, dataset: Dataset) -> dict[str, Any]:
    """Run processes side by side; each has a whole run, or as much of it as fits."""
    context = multiprocessing.get_context("fork")  # the dataset is there already, and CUDA is not started yet
    barrier, queue = context.Barrier(num_processes), context.Queue()
    arguments = (how, limit_s, dataset, barrier, queue)
    processes = [context.Process(target=_serve, args=(seed, *arguments), daemon=True) for seed in range(num_processes)]
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
    settings = {**QUICK, "seed": seed}
    return graphed(settings, dataset) if how == "graphs" else registry.build(parse(settings), dataset)


def _train(loop: TrainingLoop, limit_s: float) -> dict[str, Any]:
    started, metrics = time.monotonic(), {}
    while not loop.done and time.monotonic() < started + limit_s:
        metrics = loop.step()
    return {
        "seconds": time.monotonic() - started,
        "progress": loop.progress,
        "cycles": loop.turns.cycles,  # type: ignore[attr-defined]
        "mb": torch.cuda.memory_reserved() / 1e6,
        **{name: metrics[name] for name in ("train_s", "evaluation_s", "robust")},
    }


def _on_streams(count: int, limit_s: float, dataset: Dataset) -> dict[str, Any]:
    """Train several runs in turns by one process; reports are evaluated one after the other."""
    there = on(dataset, "cuda")
    loops = [graphed({**QUICK, "seed": seed}, there) for seed in range(count)]
    started = time.monotonic()
    evaluation_s, left = 0.0, list(loops)
    while left and time.monotonic() < started + limit_s:
        for loop in list(left):
            with torch.cuda.stream(loop.stream):
                if loop.meter.compute < min(loop.num_reports + 1, loop.config.compute):
                    loop.set_learning_rate()
                    loop.train_minibatch()
                    continue
                began = time.monotonic()
                loop.num_reports += 1
                loop.evaluate("rank" if loop.done else "watch")
                evaluation_s += time.monotonic() - began
            if loop.done:
                left.remove(loop)
    torch.cuda.synchronize()
    seconds = time.monotonic() - started
    return {
        "trials_per_hour": 3600 * sum(loop.progress for loop in loops) / seconds,
        "seconds": seconds,
        "evaluation_s": evaluation_s,
        "progress": min(loop.progress for loop in loops),
        "mb": torch.cuda.memory_reserved() / 1e6,
    }
