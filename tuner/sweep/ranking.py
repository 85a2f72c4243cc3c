"""Which runs of a sweep are eligible, and which of them are best."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence

from search_spaces.schema import Space
from search_spaces.sections import Bounds, Objective
from trainables.evaluation.checks import MASKING_FAILURES
from tuner.sweep.runs import Record


def best_trials(space: Space, records: Collection[Record]) -> list[Record]:
    """Return the best trial, if any; with several objectives the Pareto front, sorted by the first one."""
    if len(space.objectives) > 1:
        return front(records, space.objectives)
    winner = best(records, space.objective.mode)
    return [] if winner is None else [winner]


def violations(constraints: Mapping[str, Bounds], metrics: Mapping[str, float]) -> dict[str, float]:
    """Return by how much metrics violate each constraint; zero or less means that it is satisfied.

    Args:
        constraints: the bounds of each constrained metric.
        metrics: the last metrics of a run.

    Returns:
        A number for each bound (``<metric> min``, ``<metric> max``), and as ``masking`` how many gradient-masking
        checks failed, if they were made.
    """
    violated = {}
    for metric, limit in constraints.items():
        if limit.min is not None:
            violated[f"{metric} min"] = limit.min - metrics[metric]
        if limit.max is not None:
            violated[f"{metric} max"] = metrics[metric] - limit.max
    if MASKING_FAILURES in metrics:
        violated["masking"] = metrics[MASKING_FAILURES]
    return violated


def eligible(records: Iterable[Record]) -> list[Record]:
    """Return the trials that can be the best one: complete, and within every constraint."""
    finished = [record for record in records if record.run.kind == "trial" and record.state == "complete"]
    return [record for record in finished if record.feasible and record.value is not None]


def best(records: Iterable[Record], mode: str) -> Record | None:
    """Return the eligible trial with the best value of the first objective; None if no trial is eligible.

    Of several with the same value it is the one with the best clean accuracy, and then the first.
    """
    sign = 1.0 if mode == "max" else -1.0
    return max(
        eligible(records),
        key=lambda record: (sign * (record.value or 0.0), clean_accuracy(record.metrics)),
        default=None,
    )


def clean_accuracy(metrics: Mapping[str, float]) -> float:
    """Return the clean accuracy by which runs with the same objective are ordered: that of the end, or the last one."""
    return metrics.get("clean", metrics.get("watch/clean", 0.0))


def front(records: Iterable[Record], objectives: Sequence[Objective]) -> list[Record]:
    """Return the Pareto front of the eligible trials, sorted by the first objective, the best first.

    A trial is on the front if no other one dominates it: is as good on every objective and better on one.
    """
    points = [
        (record, [objective.sign * record.metrics[objective.metric] for objective in objectives])
        for record in eligible(records)
    ]

    def is_dominated(point: list[float]) -> bool:
        return any(other != point and all(map(operator.ge, other, point)) for _, other in points)

    nondominated = [(record, point) for record, point in points if not is_dominated(point)]
    return [record for record, _ in sorted(nondominated, key=lambda pair: pair[1], reverse=True)]


def explain_no_best(records: Iterable[Record]) -> str:
    """Return why no trial is eligible, as a sentence: none is complete yet, or all complete ones are infeasible."""
    finished = [record for record in records if record.run.kind == "trial" and record.state == "complete"]
    if not finished:
        return "No trial has run to the end yet."
    masked = sum(record.is_masked for record in finished)
    counts = {"masked (they failed gradient-masking checks)": masked, "outside a constraint": len(finished) - masked}
    reasons = " and ".join(f"{count} {words}" for words, count in counts.items() if count)
    return f"No trial is feasible: of {len(finished)} that ran to the end, {reasons}."
