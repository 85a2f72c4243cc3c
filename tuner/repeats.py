"""The same configurations with several seeds: their means and ranges, and differences in pairs of equal seeds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from statistics import mean

from rich.table import Table

from tuner.records import MEASURES, Record, best
from tuner.studies import read_records
from tuner.sweep import Sweep


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
        return self.first.run.key.removeprefix("baseline-")

    @property
    def outcomes(self) -> str:
        """How many of its runs ended how: ``2 complete, 1 masked``."""
        return ", ".join(
            f"{count} {outcome}" for outcome, count in Counter(one.outcome for one in self.records).items()
        )

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric of the runs that ran to the end, feasible or not, by seed."""
        return {one.run.settings["seed"]: one.metrics[metric] for one in self.records if one.state == "complete"}


def repeats(sweep: Sweep) -> list[Repeats]:
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


def table(sweep: Sweep) -> Table:
    """Return the means over seeds for a terminal, in percent, each with the lowest and the highest."""
    result = Table(title=f"{sweep.name}: mean over seeds (lowest to highest) of the runs that ran to the end")
    for column in ("configuration", "trainable", "runs"):
        result.add_column(column)
    for column in MEASURES:
        result.add_column(column, justify="right", no_wrap=True)
    for one in repeats(sweep):
        cells = [_spread(list(one.values(metric).values())) for metric in MEASURES.values()]
        style = "cyan" if one.first.run.kind == "baseline" else None
        result.add_row(one.name, one.first.run.label, one.outcomes, *cells, style=style)
    return result


def verdict(sweep: Sweep) -> list[str]:
    """Return by how much the best trial's configuration leads each baseline, seed by seed; nothing if there is none."""
    metric = sweep.space.objective.metric
    everyone = repeats(sweep)
    winner = best([record for one in everyone for record in one.records], sweep.space.objective.mode)
    if winner is None:
        return []
    leader = next(one for one in everyone if winner in one.records)
    lines = []
    for other in (one for one in everyone if one.first.run.kind == "baseline"):
        ours, theirs = leader.values(metric), other.values(metric)
        leads = [100 * (ours[seed] - theirs[seed]) for seed in ours if seed in theirs]
        if leads:
            lines.append(
                f"Best: {leader.name} ({leader.first.run.label}) against {other.name}: {mean(leads):+.1f} points of "
                f"{metric.replace('_', ' ')} ({min(leads):+.1f} to {max(leads):+.1f}; pairs: {len(leads)})"
            )
    return lines


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    text = f"{100 * mean(values):.1f}"
    return f"{text} ({100 * min(values):.1f}-{100 * max(values):.1f})" if len(values) > 1 else text
