"""Runs of a pack that compute nothing: each report takes a few turns of a hundredth of a second."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import torch

from trainables.training.machine.graphs import Updates
from trainables.worker.pack_server import PackedRun

ACCURACIES = ("clean", "fgsm", "pgd", "robust")


class TrivialLoop:
    """As many reports as the compute has epochs."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.updates = Updates(torch.device("cpu"))
        self.num_reports = 0

    @property
    def meter(self) -> SimpleNamespace:
        return SimpleNamespace(compute=float(self.num_reports))

    @property
    def done(self) -> bool:
        return self.num_reports >= self.config.compute

    def advance(self):
        for _ in range(20):
            time.sleep(0.002)
            yield None
        self.num_reports += 1
        names = [*(f"watch/{name}" for name in ACCURACIES), *(ACCURACIES if self.done else ())]
        counts = {"step": self.num_reports, "compute": float(self.num_reports), "train_s": 0.0, "evaluation_s": 0.0}
        return dict.fromkeys(names, 0.5) | counts

    def state(self) -> dict[str, Any]:
        return {"num_reports": self.num_reports}

    def restore(self, state: dict[str, Any]) -> None:
        self.num_reports = state["num_reports"]


class TrivialRun(PackedRun):
    def _build(self, config: Any) -> Any:
        return TrivialLoop(config)
