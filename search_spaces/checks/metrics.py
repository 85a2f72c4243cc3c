"""Mistakes in the metrics that a search space names: unknown ones, ones measured too late, objectives given twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from search_spaces.errors import Mistake, Path, shown, unknown
from search_spaces.parameters import is_number
from search_spaces.parsing.reader import Draft
from search_spaces.sections import PARETO, Objective
from trainables.config import metric_of_attack
from trainables.config.plugins.registries import ATTACKS
from trainables.evaluation.earlier_names import present_name, present_watched_name
from trainables.evaluation.metrics import (
    Metric,
    constraints,
    is_accuracy,
    metric_named,
    objectives,
    watched_accuracies,
)

_LARGEST = 1e12


def metric_mistakes(draft: Draft) -> Iterator[Mistake]:
    """Yield a mistake for each metric that cannot be used where a space file names it, and each repeated objective."""
    named = _named_attacks(draft)
    raw = draft.data.get("objective", {})
    entries = [((index,), entry) for index, entry in enumerate(raw)] if isinstance(raw, list) else [((), raw)]
    budget = draft.section("budget")
    prune_on = draft.section("search").get("prune_on")
    bounded: set[str] = set()
    for metric, bounds in draft.section("constraints").items():
        yield from _unknown(("constraints", metric), metric, constraints(), named)
        yield from _out_of_range(("constraints", metric), metric, bounds)
        yield from _repeated(("constraints", metric), metric, "bounded", bounded)
    yield from _out_of_range(("budget",), _metric(entries[0][1]) if entries else None, {"target": budget.get("target")})
    for place, entry in entries:
        yield from _unknown(("objective", *place, "metric"), _metric(entry), objectives(), named)
    yield from _unreported(("search", "prune_on", "metric"), _metric(prune_on))
    if prune_on == PARETO:
        yield from _not_for_pareto(draft, len(entries))
    earlier: set[str] = set()
    for place, entry in entries:
        yield from _repeated(("objective", *place, "metric"), _metric(entry), "an objective", earlier)


def _not_for_pareto(draft: Draft, num_objectives: int) -> Iterator[Mistake]:
    """Find what keeps trials from being compared by all objectives while they train."""
    place = ("search", "prune_on")
    if num_objectives < 2:
        yield Mistake(None, place, "pareto compares trials by several objectives, and there is one: leave it out")
    pruner = draft.section("search").get("pruner")
    if pruner == "hyperband" or (isinstance(pruner, dict) and "hyperband" in pruner):
        yield Mistake(None, place, "pareto goes with successive_halving or median, not with hyperband")


def _repeated(place: Path, metric: object, what: str, earlier: set[str]) -> Iterator[Mistake]:
    """Find a metric that was named before, by this name or that of earlier releases."""
    if not isinstance(metric, str):
        return
    if present_name(metric) in earlier:
        yield Mistake(None, place, f"{shown(metric)} is {what} already")
    earlier.add(present_name(metric))


def _named_attacks(draft: Draft) -> list[str]:
    """Return the metrics of the further attacks that the evaluation names."""
    attacks = draft.section("evaluation").get("attacks")
    return [metric_of_attack(name) for name in attacks if isinstance(name, str)] if isinstance(attacks, list) else []


def _unknown(place: Path, metric: Any, valid: Iterable[Metric], named: list[str]) -> Iterator[Mistake]:
    names = [row.name for row in valid]
    if not isinstance(metric, str) or metric in named:
        return
    if metric in names and metric in ATTACKS:
        if metric not in ATTACKS.ours:
            yield Mistake(None, place, f"{metric} is measured only where evaluation.attacks names it: [{metric}]")
    elif present_name(metric) not in names:
        yield Mistake(None, place, unknown("metric", metric, [*names, *named]))


def _out_of_range(place: Path, metric: object, bounds: object) -> Iterator[Mistake]:
    """Find bounds that no value of a metric can reach, such as percent where a share is measured."""
    name = present_name(metric) if isinstance(metric, str) else metric or Objective().metric
    row = next((row for row in objectives() if row.name == name), None)
    if row is None and isinstance(name, str) and is_accuracy(name):
        row = metric_named(name)
    low, high = (0.0, 1.0) if row and row.is_share else (-_LARGEST, _LARGEST)
    for key, value in bounds.items() if isinstance(bounds, dict) else ():
        if is_number(value) and not low <= value <= high:
            message = f"{row.name if row else metric} lies from {low:g} to {high:g}, this is {shown(value)}"
            yield Mistake(None, (*place, key), message)


def _unreported(place: Path, metric: Any) -> Iterator[Mistake]:
    """Find a metric to prune on that is unknown, or that a run has at its end only."""
    names = [row.name for row in watched_accuracies("all")]
    if not isinstance(metric, str) or present_watched_name(metric) in names:
        return
    if present_name(metric) in [row.name for row in constraints()]:
        message = f"must be measured at every report, which {shown(metric)} is not (valid: {', '.join(sorted(names))})"
        yield Mistake(None, place, message)
    else:
        yield Mistake(None, place, unknown("metric", metric, names))


def _metric(objective: object) -> object:
    return objective.get("metric") if isinstance(objective, dict) else None
