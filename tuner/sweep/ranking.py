"""Which runs of a sweep are eligible, and which of them are best."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence

from search_spaces.sections import Bounds, Objective
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import MASKING_FAILURES, Record


def winners_of(sweep: SweepFolder, records: list[Record]) -> list[Record]:
    """Return the best trial, or with several objectives the trials on the front; the best by the first one first."""
    if len(sweep.space.objectives) > 1:
        return front(records, sweep.space.objectives)
    winner = best(records, sweep.space.objective.mode)
    return [] if winner is None else [winner]


def violations(constraints: Mapping[str, Bounds], metrics: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each constraint is broken, that of unmasked gradients among them; zero or less is kept."""
    broken = {}
    for metric, limit in constraints.items():
        if limit.min is not None:
            broken[f"{metric} min"] = limit.min - metrics[metric]
        if limit.max is not None:
            broken[f"{metric} max"] = metrics[metric] - limit.max
    if MASKING_FAILURES in metrics:
        broken["masking"] = metrics[MASKING_FAILURES]
    return broken


def able(records: Iterable[Record]) -> list[Record]:
    """Return the trials that may win: those that ran to the end and keep the constraints."""
    finished = [record for record in records if record.run.kind == "trial" and record.state == "complete"]
    return [record for record in finished if record.feasible and record.value is not None]


def best(records: list[Record], mode: str) -> Record | None:
    """Return the trial with the best value of the first objective among those that may win."""
    sign = 1.0 if mode == "max" else -1.0
    return max(able(records), key=lambda record: sign * (record.value or 0.0), default=None)


def front(records: Iterable[Record], objectives: Sequence[Objective]) -> list[Record]:
    """Return the Pareto front: of the trials that may win, those that no other one beats, best first.

    One trial beats another where it is as good on every objective and better on one.
    """
    points = [(record, [one.sign * record.metrics[one.metric] for one in objectives]) for record in able(records)]

    def is_beaten(point: list[float]) -> bool:
        return any(other != point and all(map(operator.ge, other, point)) for _, other in points)

    standing = [(record, point) for record, point in points if not is_beaten(point)]
    return [record for record, _ in sorted(standing, key=lambda pair: pair[1], reverse=True)]


def why_none_is_best(records: list[Record]) -> str:
    """Say why there is no best trial: none has run to the end, or none of those that have is feasible."""
    finished = [record for record in records if record.run.kind == "trial" and record.state == "complete"]
    if not finished:
        return "No trial has run to the end yet."
    masked = sum(record.is_masked for record in finished)
    counts = {"masked (they failed gradient-masking checks)": masked, "outside a constraint": len(finished) - masked}
    reasons = " and ".join(f"{count} {words}" for words, count in counts.items() if count)
    return f"No trial is feasible: of {len(finished)} that ran to the end, {reasons}."
