"""Sweeps for the tests of the tuner: a small space, and a driver that plays Ray's part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.ledger import Ledger
from tuner.records import Run
from tuner.sweep import Sweep

SPACE = """\
name: tiny
description: a space for tests
trainable: gan
dataset: {name: digits, validation: 200}
evaluation: {watch_images: 50, rank_images: 100}
budget: {trials: 4, compute: 3}
search: {sampler: random, seed: 7}
baselines: [standard, fgsm_retraining]
parameters:
  generator:
    learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
  ratio:
    kind: {choice: [constant, adaptive]}
    generator_turns: {int: [1, 4], when: {kind: constant}}
"""
# The same as a grid of two points with two seeds.
SEEDED = (
    SPACE[SPACE.index("budget") :],
    """\
budget: {compute: 3}
search: {sampler: grid, seed: 7}
seeds: 2
baselines: [standard, fgsm_retraining]
parameters:
  ratio:
    kind: constant
    generator_turns: {choice: [1, 2]}
""",
)
STEPS = 3


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Sweep]:
    def make(name: str = "tiny", *, replace: tuple[str, str] = ("", ""), num_trials: int | None = None) -> Sweep:
        return Sweep.create(name, SPACE.replace(*replace), "tiny.yaml", home=tmp_path, num_trials=num_trials)

    return make


def row(step: int, robust: float = 0.5, **others: float) -> dict[str, float]:
    """Return the metrics of one report, as a training loop makes them."""
    accuracies = {f"{name}_accuracy": robust for name in ("clean", "fgsm", "rfgsm", "pgd", "robust")}
    return {**accuracies, "step": step, "compute": float(step), "train_s": 1.0, "evaluation_s": 0.5, **others}


def train(ledger: Ledger, run: Run, robust: float = 0.5, start: int = 1) -> bool:
    """Report a run to its end; return False if it was pruned on the way."""
    for step in range(start, STEPS):
        if not ledger.report(run.key, row(step, robust)):
            return False
    ledger.complete(run.key, row(STEPS, robust))
    return True


def train_all(ledger: Ledger) -> list[str]:
    """Train whatever the ledger hands out, one by one; return the keys in order."""
    keys = []
    while (run := ledger.next_run()) is not None:
        keys.append(run.key)
        train(ledger, run, robust=0.1 * (run.number + 1))
    return keys
