"""How much of a GPU's memory a run takes: measured over its first updates and both kinds of its evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainables.config import parse
from trainables.config.plugins.user_code import provide
from trainables.data.tensors import Dataset, load_dataset
from trainables.training import registry
from trainables.training.machine.runtime import keep_freed_memory, training_passes
from trainables.worker.context import WorkerContext
from trainables.worker.packages import ensure_packages

CONTEXT_MB = 600.0
"""What CUDA, cuBLAS and cuDNN take for a process beside torch's tensors."""
NUM_UPDATES = 12
"""Enough for every kind of update to have been recorded as a graph."""


@dataclass(frozen=True)
class Footprint:
    """What was found out on a GPU.

    Attributes:
        memory_mb: that the GPU has; None if it cannot be used.
        run_mb: that a run takes of it, CUDA's own among it; None if that was not measured.
        fits: whether the run does not need more than the GPU has.
        problem: why the GPU cannot be used, or why nothing was measured; empty if there is no problem.
    """

    memory_mb: float | None = None
    run_mb: float | None = None
    fits: bool = True
    problem: str = ""


def heaviest(configurations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the configuration that probably takes the most memory: by weights and minibatches."""
    weights = [_weight(settings) for settings in configurations]
    return dict(configurations[weights.index(max(weights))])


def _weight(settings: Mapping[str, Any]) -> float:
    config = parse(dict(settings))
    return float(registry.num_parameters(config) * config.batch_size)


def measure_gpu(settings: Mapping[str, Any] | None, context: WorkerContext) -> Footprint:
    """Return what the first GPU of this process has, and what a run takes of it.

    Args:
        settings: of the run; None measures no run.
        context: where its data and code are.
    """
    if not torch.cuda.is_available():
        return Footprint(problem="torch sees no GPU there: it was installed without CUDA, or the driver is too old")
    try:
        _, total = torch.cuda.mem_get_info()
    except RuntimeError as error:
        return Footprint(problem=f"CUDA does not work there: {_first_line(error)}")
    memory_mb = total / 1e6
    if settings is None:
        return Footprint(memory_mb)
    try:
        ensure_packages(settings.get("code", {}), context.sweep_place)
        for source in context.code.values():
            provide(source.encode())
        dataset = load_dataset(
            parse(dict(settings)).dataset,
            folder=Path(context.data) if context.data else None,
            shared=context.shared_data,
            device="cuda",
        )
        train_a_little(settings, dataset)
    except torch.OutOfMemoryError:
        return Footprint(memory_mb, fits=False)
    except Exception as error:  # the run will say so itself
        return Footprint(memory_mb, problem=_first_line(error))
    return Footprint(memory_mb, torch.cuda.max_memory_reserved() / 1e6 + CONTEXT_MB)


def train_a_little(settings: Mapping[str, Any], dataset: Dataset) -> None:
    """Train a run for some updates, and evaluate it as a run is at its reports and at its end.

    Args:
        settings: of the run; it is trained without pretraining, which takes less memory than what follows it.
        dataset: that it names, on the device.
    """
    keep_freed_memory()
    fresh = {key: value for key, value in settings.get("classifier", {}).items() if key != "start"}
    config = parse({**settings, "classifier": fresh, **({"pretrain": 0.0} if "pretrain" in settings else {})})
    loop = registry.build(config, dataset)
    with loop.updates.active():
        with training_passes(config.precision, loop.device):
            for _ in range(NUM_UPDATES):
                loop.set_learning_rate()
                loop.train_minibatch()
        for tier in ("watch", "watch", "rank"):
            loop.evaluate(tier)
    loop.updates.finish()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
