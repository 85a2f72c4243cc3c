"""Runs of a pack that compute nothing: each report takes a few turns of a hundredth of a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import torch

from trainables.training.machine.graphs import Updates
from trainables.worker.pack import Outcome
from trainables.worker.pack_server import PackedRun

ACCURACIES = ("clean", "fgsm", "pgd", "robust")


class TrivialLoop:
    """As many reports as the compute has epochs."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.updates = Updates(torch.device("cpu"))
        self.num_reports = 0
        self.may_report: Callable[[], bool] = lambda: True

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
        while not self.may_report():
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


class LargeRun(TrivialRun):
    """One of its runs finds too little memory beside others, of which one stays until that has happened twice."""

    LARGE, NEIGHBOUR = "trial-0001", "trial-0000"
    _together: ClassVar[set[str]] = set()
    _times_short: ClassVar[int] = 0

    def _build(self, config: Any) -> Any:
        loop, until = super()._build(config), time.monotonic() + 100
        is_large, num = self._run.key == self.LARGE, 2 if self._run.key == self.NEIGHBOUR else 1

        def may_report() -> bool:
            if time.monotonic() > until:
                return True
            short = LargeRun._times_short
            return short >= 2 or len(self._together) > 1 if is_large else short >= num

        loop.may_report = may_report
        return loop

    def begin(self) -> dict[str, Any] | None:
        self._together.add(self._run.key)
        return super().begin()

    def finish_report(self, outcome: Outcome) -> dict[str, Any]:
        if self._run.key == self.LARGE and len(self._together) > 1:
            LargeRun._times_short += 1
            return self._failed_by(torch.OutOfMemoryError("CUDA out of memory"))
        return super().finish_report(outcome)

    def end(self) -> None:
        self._together.discard(self._run.key)
        super().end()
