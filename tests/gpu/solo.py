"""The speed of single runs: every recipe as it is and as CUDA graphs, and how often the host waits for the device."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from tests.gpu.measuring import FORMATS, Rows, deterministic, host_ms, numbers, time_ms
from tests.gpu.recipes import BATCH_SIZE, RECIPES, build, endless, on
from trainables.data.tensors import Dataset
from trainables.training.loop import TrainingLoop
from trainables.training.machine.graphs import RecordedUpdates


def advance(loop: TrainingLoop) -> Callable[[], None]:
    """Return what trains a loop on two minibatches, so that generator and classifier have one each."""

    def run() -> None:
        for _ in range(2):
            loop.set_learning_rate()
            loop.train_minibatch()

    return run


def measure_eager(rows: Rows, dataset: Dataset) -> None:
    there = on(dataset, "cuda")
    for recipe in RECIPES:
        for fmt in FORMATS:
            rows.attempt(f"{recipe}, {fmt}", lambda recipe=recipe, fmt=fmt: _eager(recipe, fmt, there))
        rows.attempt(f"{recipe}, waits", lambda recipe=recipe: _waits(recipe, there))


def measure_reports(rows: Rows, dataset: Dataset) -> None:
    """Time evaluations, and count how often the host waits for the device in one."""
    there = on(dataset, "cuda")
    rows.attempt("waits and seconds", lambda: _waits_of_reports(there))


def _eager(recipe: str, fmt: str, dataset: Dataset) -> dict[str, Any]:
    with numbers(fmt):
        run = advance(build(endless(recipe), dataset, graphs=False))
        ms = time_ms(run, seconds=0.5) / 2
    return {"ms": ms, "images_per_s": 1e3 * BATCH_SIZE / ms}


def measure_graphs(rows: Rows, dataset: Dataset) -> None:
    there = on(dataset, "cuda")
    for recipe in RECIPES:
        for fmt in FORMATS:
            rows.attempt(f"{recipe}, {fmt}", lambda recipe=recipe, fmt=fmt: _in_graphs(recipe, fmt, there))
        with deterministic():
            rows.attempt(f"{recipe}, fp32, deterministic", lambda recipe=recipe: _in_graphs(recipe, "fp32", there))


def _in_graphs(recipe: str, fmt: str, dataset: Dataset) -> dict[str, Any]:
    """Time whole updates with their work on the host, and replays alone."""
    with numbers(fmt):
        loop = build(endless(recipe), dataset)
        run = advance(loop)
        with loop.updates.active():
            for _ in range(6):
                run()
            ms, host = time_ms(run, seconds=0.4) / 2, host_ms(run) / 2
            graphs = replays(loop)

            def replay() -> None:
                for graph in graphs:
                    graph()

            updates = 2 if recipe == "gan" else 1
            alone = time_ms(replay) / updates
            submit = host_ms(replay) / updates
    return {
        "ms": ms,
        "images_per_s": 1e3 * BATCH_SIZE / ms,
        "host_ms": host,
        "replay_ms": alone,
        "replay_host_ms": submit,
        "mb": torch.cuda.memory_reserved() / 1e6,
    }


def replays(loop: TrainingLoop) -> list[Callable[[], Any]]:
    """Return what repeats each graph that a loop has captured."""
    assert isinstance(loop.updates, RecordedUpdates)
    recorded = [one for kind in loop.updates._recorded.values() for one in kind.values()]
    if not recorded:
        raise RuntimeError("nothing was captured")
    return [one._replay for one in recorded]


def _waits(recipe: str, dataset: Dataset) -> dict[str, Any]:
    loop = build(endless(recipe), dataset, graphs=False)
    run = advance(loop)
    run()
    num_updates = 20
    found = waits(lambda: [run() for _ in range(num_updates // 2)])
    return {"waits_per_update": len(found) / num_updates, "where": sorted(set(found))[:6]}


def _waits_of_reports(dataset: Dataset) -> dict[str, Any]:
    loop = build({**endless("gan"), "compute": 2.0, "report_every": 1.0}, dataset)
    loop.step()
    counts = {tier: len(waits(lambda tier=tier: loop.evaluate(tier))) for tier in ("watch", "rank")}
    seconds = {f"{tier}_s": _once(lambda tier=tier: loop.evaluate(tier)) for tier in counts}
    with loop.updates.active():
        for tier in counts:
            for how in ("eager", "recording", "graph"):
                seconds[f"{tier}_{how}_s"] = _once(lambda tier=tier: loop.evaluate(tier))
        counts |= {f"{tier}_graph": len(waits(lambda tier=tier: loop.measure(tier))) for tier in tuple(counts)}
    return {**{f"{tier}_waits": count for tier, count in counts.items()}, **seconds}


def _once(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def waits(function: Callable[[], object]) -> list[str]:
    """Return the places at which a function waits for the device."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            function()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{warning.filename.rsplit('/', 1)[-1]}:{warning.lineno}" for warning in caught]
