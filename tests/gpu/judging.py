"""Seconds of the strongest evaluations on a net trained by PGD: the tier `final` and AutoAttack."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import torch

from tests.gpu.measuring import Rows
from tests.gpu.recipes import build, on
from trainables.data.tensors import Dataset
from trainables.judging.autoattack import autoattack_accuracy
from trainables.judging.final import evaluate_final

NUM_IMAGES, EPSILON = 1000, 0.3


def _trained(recipe: str, compute: float, dataset: Dataset) -> tuple[torch.nn.Module, dict[str, Any]]:
    loop = build({"trainable": recipe, "compute": compute, "report_every": compute}, dataset)
    started = time.monotonic()
    metrics = loop.step()
    torch.cuda.synchronize()
    names = ("train_s", "evaluation_s", "robust", "clean")
    return loop.classifier, {"seconds": time.monotonic() - started} | {name: metrics[name] for name in names}


def measure(rows: Rows, dataset: Dataset) -> None:
    there = on(dataset, "cuda")
    nets: dict[str, torch.nn.Module] = {}

    def train(recipe: str, compute: float) -> dict[str, Any]:
        nets[recipe], values = _trained(recipe, compute, there)
        return values

    rows.attempt("a net trained by PGD, compute 24", lambda: train("pgd", 24.0))
    rows.attempt("a standard net, compute 2", lambda: train("standard", 2.0))
    if len(nets) < 2:
        return
    images = there.test.head(NUM_IMAGES)

    def autoattack() -> dict[str, Any]:
        if not importlib.util.find_spec("pyautoattack"):
            return {"skipped": "pyautoattack is not installed"}
        return {"images": NUM_IMAGES, **autoattack_accuracy(nets["pgd"], images, EPSILON, 0)}

    def final() -> dict[str, Any]:
        started = time.monotonic()
        surrogates = {"standard": nets["standard"]}
        found = evaluate_final(nets["pgd"], images, epsilon=EPSILON, training=there.train, surrogates=surrogates)
        torch.cuda.synchronize()
        return {
            "images": NUM_IMAGES,
            "robust": found["metrics"]["robust"],
            "seconds": time.monotonic() - started,
            **{row["name"]: round(row["seconds"], 2) for row in found["attacks"]},
        }

    rows.attempt("tier final", final, needs_s=10)
    rows.attempt("AutoAttack", autoattack, needs_s=35)
