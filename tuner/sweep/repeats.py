"""The same configurations with several seeds: their means and ranges, and differences in pairs of equal seeds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from statistics import mean

from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
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
        """What it is called: a baseline's name, or the key of a trial."""
        return self.first.run.name

    @property
    def outcomes(self) -> str:
        """How many of its runs ended how: ``2 complete, 1 masked``."""
        return ", ".join(
            f"{count} {outcome}" for outcome, count in Counter(one.outcome for one in self.records).items()
        )

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric by seed, of the runs that ran to the end, feasible or not, and that measured it."""
        ended = [record for record in self.records if record.state == "complete" and metric in record.metrics]
        return {record.run.settings["seed"]: record.metrics[metric] for record in ended}


def repeats(sweep: SweepFolder) -> list[Repeats]:
    """Return the runs of a sweep by configuration, those with the best mean of the objective first."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in read_records(sweep):
        num_baselines = len(sweep.space.baselines)
        name = sweep.space.baselines[record.run.number % num_baselines].name if record.run.kind == "baseline" else ""
        settings = json.dumps({**record.run.settings, "seed": None}, sort_keys=True)
        groups.setdefault((name, settings), []).append(record)
    sign = -1.0 if sweep.space.objective.mode == "max" else 1.0

    def place(one: Repeats) -> tuple[bool, float]:
        values = one.values(sweep.space.objective.metric).values()
        return not values, sign * mean(values) if values else 0.0

    return sorted((Repeats(tuple(records)) for records in groups.values()), key=place)
