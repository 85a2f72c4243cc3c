"""Trainables that do nothing: what is left is the cost of running them. Imports no torch, so workers start soon."""

from __future__ import annotations

import time
from typing import Any

from ray import tune

METRICS = {
    "watch/clean": 0.9,
    "watch/fgsm": 0.5,
    "watch/robust": 0.4,
    "clean": 0.9,
    "fgsm": 0.5,
    "pgd": 0.4,
    "robust": 0.4,
    "step": 1,
    "compute": 1.0,
    "train_s": 0.0,
    "evaluation_s": 0.0,
}


class Plain(tune.Trainable):
    """Reports the same metrics at every step."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        return dict(METRICS)


class Ours(Plain):
    """Ends at its first step, with the result of a run that has spent its compute."""

    def step(self) -> dict[str, Any]:
        return {"metrics": dict(METRICS), "finished": True}


class PlainSecond(Plain):
    """The same, a second later: as long as the shortest run that somebody would search over."""

    def step(self) -> dict[str, Any]:
        time.sleep(1.0)
        return super().step()


class OursSecond(Ours):
    """The same, a second later."""

    def step(self) -> dict[str, Any]:
        time.sleep(1.0)
        return super().step()
