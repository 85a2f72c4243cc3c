"""Whole runs of `gan`'s first configuration in packs of several widths and formats, and in several processes."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.gpu.measuring import Rows, numbers
from tests.gpu.recipes import GENERATOR, build, on
from tests.gpu.trials import side_by_side
from trainables.data.tensors import Dataset
from trainables.training.loop import TrainingLoop
from trainables.worker.pack import Pack

CASES = (
    (16, 16, "default", 20),
    (32, 32, "default", 24),
    (64, 64, "default", 24),
    (32, 32, "fp32", 14),
    (32, 32, "tf32", 14),
    (32, 32, "bf16", 14),
)
"""How many runs, how many at a time, the number format, and the seconds at most.

`default` is what torch does by itself: convolutions in TF32, products of matrices in float32; `fp32` and `tf32` have
both in the same format, and `bf16` is the precision bfloat16 of a configuration beside that default."""

PROCESSES = ((2, 16, 18), (4, 16, 20))
"""How many processes, each with a pack of how many runs, and the seconds at most."""

PROFILED_S = 4.0


@dataclass
class Trials:
    """Runs that a pack trains; one that is done makes room for the next."""

    dataset: Dataset
    num_runs: int
    width: int
    settings: dict[str, Any]
    first_seed: int = 0
    pack: Pack = field(default_factory=Pack)
    loops: list[TrainingLoop] = field(default_factory=list)
    reports: list[dict[str, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def is_done(self) -> bool:
        return len(self.loops) == self.num_runs and not len(self.pack)

    def turn(self) -> None:
        while len(self.pack) < self.width and len(self.loops) < self.num_runs:
            seed = self.first_seed + len(self.loops)
            self.loops.append(build({**self.settings, "seed": seed}, self.dataset))
            self.pack.enter(str(seed), self.loops[-1])
        for outcome in self.pack.turn():
            if outcome.error is not None:
                self.errors.append(f"{type(outcome.error).__name__}: {outcome.error}")
            elif outcome.metrics and outcome.metrics["compute"] >= self.settings["compute"]:
                self.reports.append(outcome.metrics)

    @property
    def progress(self) -> float:
        """How many runs the compute that is spent would be."""
        return sum(loop.progress for loop in self.loops)

    def all_reported(self, num_reports: int) -> bool:
        return len(self.loops) >= self.width and all(loop.num_reports >= num_reports for loop in self.loops)


def train(trials: Trials, limit_s: float) -> dict[str, Any]:
    """Train to the end or to the limit; the steady rate is from everybody's second report to the first one's last."""
    torch.cuda.synchronize()
    started = time.monotonic()
    at_start = at_end = None
    while not trials.is_done() and time.monotonic() < started + limit_s:
        trials.turn()
        now = (time.monotonic(), trials.progress)
        if at_start is None and trials.all_reported(2):
            at_start = now
        if not trials.reports:
            at_end = now
    torch.cuda.synchronize()
    seconds = time.monotonic() - started
    steady = 0.0
    if at_start and at_end and at_end[0] > at_start[0] + 0.5:
        steady = 3600 * (at_end[1] - at_start[1]) / (at_end[0] - at_start[0])
    last = trials.reports[-1] if trials.reports else {}
    robust = [report["robust"] for report in trials.reports]
    return {
        "trials_per_hour": 3600 * trials.progress / seconds,
        "steady_trials_per_hour": steady,
        "until_steady_s": at_start[0] - started if at_start else 0.0,
        "seconds": seconds,
        "done": len(trials.reports),
        "robust": sum(robust) / max(len(robust), 1),
        "lowest_robust": min(robust, default=0.0),
        "train_s": last.get("train_s", 0.0),
        "evaluation_s": last.get("evaluation_s", 0.0),
        "errors": trials.errors[:2],
        "mb": torch.cuda.memory_reserved() / 1e6,
    }


@contextmanager
def _format(fmt: str) -> Iterator[dict[str, Any]]:
    """Set a number format of `CASES` and yield the settings of a run in it."""
    if fmt in ("fp32", "tf32"):
        with numbers(fmt):
            yield GENERATOR
    else:
        yield {**GENERATOR, "precision": "bfloat16"} if fmt == "bf16" else GENERATOR


def measure(rows: Rows, dataset: Dataset) -> None:
    """Time whole runs in packs of one process, and where its host spends its time."""
    there = on(dataset, "cuda")
    for number, (num_runs, width, fmt, limit_s) in enumerate(CASES):
        if number == 2:
            rows.attempt("host, pack of 16", lambda: _profiled(there), needs_s=12)
        arguments = (num_runs, width, fmt, limit_s, there)
        what = f"{num_runs} runs in a pack of {width}, {fmt}"
        rows.attempt(what, lambda arguments=arguments: _in_a_pack(*arguments), needs_s=8)


def _in_a_pack(num_runs: int, width: int, fmt: str, limit_s: float, dataset: Dataset) -> dict[str, Any]:
    with _format(fmt) as settings:
        found = train(Trials(dataset, num_runs, width, settings), limit_s)
    torch.cuda.empty_cache()  # a graph's memory is given back only so
    return found


def _profiled(dataset: Dataset) -> dict[str, Any]:
    """Say in which functions the host spends the milliseconds of an update, once all runs are under way."""
    trials = Trials(dataset, 16, 16, GENERATOR)
    started = time.monotonic()
    while not trials.all_reported(1) and time.monotonic() < started + 8:
        trials.turn()
    torch.cuda.synchronize()
    begun, drawn = time.monotonic(), _num_minibatches(trials)
    profile = cProfile.Profile()
    profile.enable()
    while time.monotonic() < begun + PROFILED_S:
        trials.turn()
    profile.disable()
    torch.cuda.synchronize()
    seconds, count = time.monotonic() - begun, max(_num_minibatches(trials) - drawn, 1)
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    largest = sorted(found.items(), key=lambda item: -item[1][2])[:15]
    top = [
        f"{1e3 * own / count:.4f} ms x{calls / count:.2f} {path.rsplit('/', 1)[-1]}:{line} {name}"
        for (path, line, name), (_, calls, own, _, _) in largest
    ]
    return {"minibatches": count, "ms_per_minibatch": 1e3 * seconds / count, "top": top}


def _num_minibatches(trials: Trials) -> int:
    loops: list[Any] = list(trials.loops)
    return sum(loop.minibatches.num_drawn + loop.generator_minibatches.num_drawn for loop in loops)


def measure_processes(rows: Rows, dataset: Dataset) -> None:
    """Time packs of several processes that share the GPU."""
    for num_processes, width, limit_s in PROCESSES:
        rows.attempt(
            f"{num_processes} processes, each a pack of {width}",
            lambda case=(num_processes, width, limit_s): _in_processes(*case, dataset),
            needs_s=10,
        )


def _in_processes(num_processes: int, width: int, limit_s: float, dataset: Dataset) -> dict[str, Any]:
    results = side_by_side(num_processes, limit_s, _serve, width, limit_s, dataset)
    sums = ("trials_per_hour", "steady_trials_per_hour", "done", "mb")
    return {
        **{name: sum(result[name] for result in results) for name in sums},
        "until_steady_s": max(result["until_steady_s"] for result in results),
        "seconds": max(result["seconds"] for result in results),
        "errors": [error for result in results for error in result["errors"]][:2],
    }


def _serve(number: int, width: int, limit_s: float, dataset: Dataset, barrier: Any, queue: Any) -> None:
    try:
        trials = Trials(on(dataset, "cuda"), width, width, GENERATOR, first_seed=width * number)
        torch.zeros(8, 8, device="cuda").matmul(torch.zeros(8, 8, device="cuda")).sum().item()
        barrier.wait(60)
        queue.put(train(trials, limit_s))
    except Exception as error:
        queue.put({"error": f"{type(error).__name__}: {error}"[:300]})
        raise
