"""Runs grouped by configuration: the same settings with several seeds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean

from search_spaces.schema import Space
from tuner.sweep.runs import Record


@dataclass(frozen=True)
class Repeats:
    """All runs of one configuration, in the order of their seeds."""

    records: tuple[Record, ...]

    @property
    def first(self) -> Record:
        """The run with the first seed."""
        return self.records[0]

    @property
    def name(self) -> str:
        """The baseline's name, or the key of the trial with the first seed."""
        return self.first.run.name

    @property
    def outcomes(self) -> str:
        """The number of its runs by outcome, as text: ``2 complete, 1 masked``."""
        return ", ".join(
            f"{count} {outcome}" for outcome, count in Counter(record.outcome for record in self.records).items()
        )

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric by seed, of the runs that ran to the end, feasible or not, and that measured it."""
        ended = [record for record in self.records if record.state == "complete" and metric in record.metrics]
        return {record.run.settings["seed"]: record.metrics[metric] for record in ended}


def group_repeats(space: Space, records: Iterable[Record]) -> list[Repeats]:
    """Group runs by configuration: those with the best mean of the objective first, of equal ones of clean accuracy.

    Args:
        space: of the sweep.
        records: of the runs of its search.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        number = record.run.number
        name = space.baselines[number % len(space.baselines)].name if record.run.kind == "baseline" else ""
        settings = json.dumps({**record.run.settings, "seed": None}, sort_keys=True)
        groups.setdefault((name, settings), []).append(record)

    def sort_key(group: Repeats) -> tuple[bool, float, float]:
        values, clean = group.values(space.objective.metric).values(), group.values("clean").values()
        objective = -space.objective.sign * mean(values) if values else 0.0
        return not values, objective, -mean(clean) if clean else 0.0

    return sorted((Repeats(tuple(group)) for group in groups.values()), key=sort_key)
