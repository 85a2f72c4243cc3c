"""Whole runs of `quick`'s first configuration with their evaluations: in one process, in several, and in packs."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import multiprocessing

from tests.gpu.measuring import Rows
from tests.gpu.recipes import QUICK, build, on
from trainables.data.tensors import Dataset
from trainables.training.loop import TrainingLoop
from trainables.worker.pack import Pack

CASES = (
    ("graphs", 1, 15),
    ("eager", 1, 20),
    ("graphs", 8, 12),
    ("eager", 8, 15),
    ("graphs", 16, 12),
)
"""How updates run, the number of processes that share the GPU, and the seconds after which no report is begun."""

PACKS = ((16, 16, False, 25), (32, 32, False, 35), (32, 16, True, 30))
"""How many runs, how many at a time, whether products of matrices are in tf32, and the seconds at most."""


def measure(rows: Rows, dataset: Dataset) -> None:
    for how, num_processes, limit_s in CASES:
        what = f"{how}, {num_processes} process{'es' if num_processes > 1 else ''}"
        rows.attempt(
            what,
            lambda how=how, num=num_processes, limit_s=limit_s: _measured(how, num, limit_s, dataset),
            needs_s=limit_s / 2,
        )


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


def _in_a_pack(num_runs: int, width: int, limit_s: float, dataset: Dataset, tf32: bool = False) -> dict[str, Any]:
    """Train whole runs in a pack: one that is done makes room for the next."""
    there = on(dataset, "cuda")
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.cuda.synchronize()
    started, pack, last = time.monotonic(), Pack(), {}
    loops: list[TrainingLoop] = []
    robust, errors = [], []
    while len(loops) < num_runs or len(pack):
        while len(pack) < width and len(loops) < num_runs:
            loops.append(build({**QUICK, "seed": len(loops)}, there))
            pack.enter(str(len(loops)), loops[-1])
        for outcome in pack.turn():
            if outcome.error is not None:
                errors.append(f"{type(outcome.error).__name__}: {outcome.error}")
            elif outcome.metrics and outcome.metrics["compute"] >= QUICK["compute"]:
                robust.append(outcome.metrics["robust"])
                last = outcome.metrics
        if time.monotonic() > started + limit_s:
            break
    torch.cuda.synchronize()
    seconds = time.monotonic() - started
    torch.backends.cuda.matmul.allow_tf32 = False
    return {
        "trials_per_hour": 3600 * sum(loop.progress for loop in loops) / seconds,
        "seconds": seconds,
        "done": len(robust),
        "robust": sum(robust) / max(len(robust), 1),
        "lowest_robust": min(robust, default=0.0),
        "train_s": last.get("train_s", 0.0),
        "evaluation_s": last.get("evaluation_s", 0.0),
        "errors": errors[:2],
        "mb": torch.cuda.memory_reserved() / 1e6,
    }


def measure_packs(rows: Rows, dataset: Dataset) -> None:
    """Time whole runs in packs of one process."""
    for num_runs, width, tf32, limit_s in PACKS:
        what = f"{num_runs} runs in a pack of {width}{', tf32' if tf32 else ''}"
        arguments = (num_runs, width, limit_s, dataset, tf32)
        rows.attempt(
            what,
            lambda arguments=arguments: _in_a_pack(*arguments),
            needs_s=8,
        )
