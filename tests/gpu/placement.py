"""Whether every recipe computes on the GPU what it computes on a processor, and in bfloat16 nearly the same.

And what it takes of the GPU's memory, by which `gpu: auto` decides how many runs share one.
"""

from __future__ import annotations

from typing import Any

import torch

from tests.gpu.measuring import Rows, deterministic, numbers
from tests.gpu.recipes import RECIPES, endless, on
from tests.support.loops import tensors_of
from trainables.config import parse
from trainables.data.tensors import Dataset
from trainables.training import registry
from trainables.training.loop import TrainingLoop
from trainables.training.machine.runtime import training_passes
from trainables.worker.footprint import CONTEXT_MB, train_a_little

UPDATES, PART = 40, 10


def losses_of(loop: TrainingLoop, num_updates: int = UPDATES) -> list[float]:
    """Return the classifier's mean loss over each part of some updates."""
    losses = []
    with loop.updates.active():
        for _ in range(num_updates // PART):
            for _ in range(PART):
                loop.set_learning_rate()
                with training_passes(loop.config.precision, loop.device):
                    loop.train_minibatch()
            losses.append(loop.classifier_loss.take() or 0.0)
    return losses


def measure(rows: Rows, dataset: Dataset) -> None:
    there = on(dataset, "cuda")
    rows.add("machine", gpu=torch.cuda.get_device_name(), torch=torch.__version__, images=dataset.name)
    for recipe in RECIPES:
        rows.attempt(recipe, lambda recipe=recipe: _compare(recipe, dataset, there), needs_s=5)
    for recipe in RECIPES:
        rows.attempt(f"memory of {recipe}", lambda recipe=recipe: _memory(recipe, there), needs_s=5)


def _memory(recipe: str, there: Dataset) -> dict[str, Any]:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train_a_little(endless(recipe), there)
    free, total = torch.cuda.mem_get_info()
    reserved = torch.cuda.max_memory_reserved()
    # What the device has given to all processes, less what torch has now, is CUDA's own if nothing else runs there.
    outside = total - free - torch.cuda.memory_reserved()
    return {"run_mb": reserved / 1e6, "outside_mb": outside / 1e6, "assumed_outside_mb": CONTEXT_MB}


def _compare(recipe: str, here: Dataset, there: Dataset) -> dict[str, Any]:
    def build(where: Dataset, precision: str = "float32") -> TrainingLoop:
        return registry.build(parse(endless(recipe, precision=precision)), where)

    with numbers("fp32"):
        first, second, on_cpu, in_bf16 = build(there), build(there), build(here), build(there, "bfloat16")
        ours, again, expected, half = (losses_of(loop) for loop in (first, second, on_cpu, in_bf16))
        with deterministic():
            repeats = losses_of(build(there)) == losses_of(build(there))
    elsewhere = {str(tensor.device) for tensor in tensors_of(first.state())} - {"cuda:0"}
    return {
        "elsewhere": sorted(elsewhere),  # the state of random numbers is always on the CPU
        "cpu_losses": [round(loss, 4) for loss in expected],
        "gpu_losses": [round(loss, 4) for loss in ours],
        "bf16_losses": [round(loss, 4) for loss in half],
        "off": max(abs(a - b) / max(b, 0.1) for a, b in zip(ours, expected, strict=True)),
        "off_bf16": max(abs(a - b) / max(b, 0.1) for a, b in zip(half, ours, strict=True)),
        "same_again": ours == again,
        "same_again_deterministic": repeats,
    }
