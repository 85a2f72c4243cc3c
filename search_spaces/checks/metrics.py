"""The metrics of a finished run that a search space can name, and mistakes in naming them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from search_spaces.errors import Mistake, Path, shown, unknown
from search_spaces.parsing.reader import Draft

METRICS = ("clean_accuracy", "fgsm_accuracy", "rfgsm_accuracy", "pgd_accuracy", "robust_accuracy")
OBJECTIVES = (*METRICS, "compute")


def metric_mistakes(draft: Draft) -> Iterator[Mistake]:
    """Find metrics that a file names and no run has, and objectives that stand twice."""
    raw = draft.data.get("objective", {})
    objectives = [((index,), one) for index, one in enumerate(raw)] if isinstance(raw, list) else [((), raw)]
    prune_on = draft.section("search").get("prune_on")
    named: list[tuple[Path, Any, tuple[str, ...]]] = [
        *((("constraints", metric), metric, METRICS) for metric in draft.section("constraints")),
        *((("objective", *place, "metric"), _metric(one), OBJECTIVES) for place, one in objectives),
        (("search", "prune_on", "metric"), _metric(prune_on), METRICS),
    ]
    for place, metric, valid in named:
        if isinstance(metric, str) and metric not in valid:
            yield Mistake(None, place, unknown("metric", metric, valid))
    metrics = [_metric(one) for _, one in objectives]
    for index, metric in enumerate(metrics):
        if metric is not None and metric in metrics[:index]:
            yield Mistake(None, ("objective", index, "metric"), f"{shown(metric)} is an objective already")


def _metric(objective: object) -> object:
    return objective.get("metric") if isinstance(objective, dict) else None
