"""Mistakes in the metrics that a search space names: unknown ones, ones measured too late, objectives given twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from search_spaces.errors import Mistake, Path, shown, unknown
from search_spaces.parameters import is_number
from search_spaces.parsing.reader import Draft
from search_spaces.sections import Objective
from trainables.evaluation.metrics import Metric, constraints, objectives, reported_constraints

_LARGEST = 1e12


def metric_mistakes(draft: Draft) -> Iterator[Mistake]:
    """Yield a mistake for each metric that cannot be used where a space file names it, and each repeated objective."""
    raw = draft.data.get("objective", {})
    entries = [((index,), entry) for index, entry in enumerate(raw)] if isinstance(raw, list) else [((), raw)]
    budget = draft.section("budget")
    prune_on = draft.section("search").get("prune_on")
    for metric, bounds in draft.section("constraints").items():
        yield from _unknown(("constraints", metric), metric, constraints())
        yield from _out_of_range(("constraints", metric), metric, bounds)
    yield from _out_of_range(("budget",), _metric(entries[0][1]) if entries else None, {"target": budget.get("target")})
    for place, entry in entries:
        yield from _unknown(("objective", *place, "metric"), _metric(entry), objectives())
    yield from _unreported(("search", "prune_on", "metric"), _metric(prune_on))
    earlier: set[str] = set()
    for place, entry in entries:
        repeated = _metric(entry)
        if isinstance(repeated, str) and repeated in earlier:
            yield Mistake(None, ("objective", *place, "metric"), f"{shown(repeated)} is an objective already")
        elif isinstance(repeated, str):
            earlier.add(repeated)


def _unknown(place: Path, metric: Any, valid: Iterable[Metric]) -> Iterator[Mistake]:
    names = [row.name for row in valid]
    if isinstance(metric, str) and metric not in names:
        yield Mistake(None, place, unknown("metric", metric, names))


def _out_of_range(place: Path, metric: object, bounds: object) -> Iterator[Mistake]:
    """Find bounds that no value of a metric can reach, such as percent where a share is measured."""
    row = next((row for row in objectives() if row.name == (metric or Objective().metric)), None)
    low, high = (0.0, 1.0) if row and row.is_share else (-_LARGEST, _LARGEST)
    for key, value in bounds.items() if isinstance(bounds, dict) else ():
        if is_number(value) and not low <= value <= high:
            message = f"{row.name if row else metric} lies from {low:g} to {high:g}, this is {shown(value)}"
            yield Mistake(None, (*place, key), message)


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
