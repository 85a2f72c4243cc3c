"""Mistakes in the metrics that a search space names: unknown ones, ones measured too late, objectives given twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from search_spaces.errors import Mistake, Path, shown, unknown
from search_spaces.parsing.reader import Draft
from trainables.evaluation.metrics import Metric, constraints, objectives, reported_constraints


def metric_mistakes(draft: Draft) -> Iterator[Mistake]:
    """Yield a mistake for each metric that cannot be used where a space file names it, and each repeated objective."""
    raw = draft.data.get("objective", {})
    entries = [((index,), entry) for index, entry in enumerate(raw)] if isinstance(raw, list) else [((), raw)]
    prune_on = draft.section("search").get("prune_on")
    for metric in draft.section("constraints"):
        yield from _unknown(("constraints", metric), metric, constraints())
    for place, entry in entries:
        yield from _unknown(("objective", *place, "metric"), _metric(entry), objectives())
    yield from _unreported(("search", "prune_on", "metric"), _metric(prune_on))
    metrics = [_metric(entry) for _, entry in entries]
    for index, repeated in enumerate(metrics):
        if repeated is not None and repeated in metrics[:index]:
            yield Mistake(None, ("objective", index, "metric"), f"{shown(repeated)} is an objective already")


def _unknown(place: Path, metric: Any, valid: Iterable[Metric]) -> Iterator[Mistake]:
    names = [row.name for row in valid]
    if isinstance(metric, str) and metric not in names:
        yield Mistake(None, place, unknown("metric", metric, names))


def _unreported(place: Path, metric: Any) -> Iterator[Mistake]:
    """Find a metric to prune on that is unknown, or that a run has at its end only."""
    names = [row.name for row in reported_constraints()]
    if metric in [row.name for row in constraints()] and metric not in names:
        message = f"must be measured at every report, which {shown(metric)} is not (valid: {', '.join(sorted(names))})"
        yield Mistake(None, place, message)
    else:
        yield from _unknown(place, metric, reported_constraints())


def _metric(objective: object) -> object:
    return objective.get("metric") if isinstance(objective, dict) else None
