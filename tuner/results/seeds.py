"""Compares configurations with several seeds: means, ranges, and leads in pairs of equal seeds."""

from __future__ import annotations

from statistics import mean

from rich.table import Table

from trainables.evaluation.metrics import accuracies, metric_named
from tuner.search.repeats import group_repeats
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Snapshot


def seeds_table(snapshot: Snapshot) -> Table:
    """Return a row for every configuration: its accuracies as mean (lowest to highest) over seeds, in percent."""
    result = Table(title=f"{snapshot.name}: mean over seeds (lowest to highest) of the runs that ran to the end")
    for column in ("configuration", "trainable", "runs"):
        result.add_column(column)
    columns = accuracies("comparison")
    for measure in columns:
        result.add_column(measure.label, justify="right", no_wrap=True)
    for group in group_repeats(snapshot.space, snapshot.records):
        cells = [_spread(list(group.values(metric.name).values())) for metric in columns]
        style = "cyan" if group.first.run.kind == "baseline" else None
        result.add_row(group.name, group.first.run.label, group.outcomes, *cells, style=style)
    return result


def has_several_seeds(snapshot: Snapshot) -> bool:
    """Return whether a configuration has run more than once: by request, or because a small space had no other left."""
    return any(len(group.records) > 1 for group in group_repeats(snapshot.space, snapshot.records))


def pooled(snapshot: Snapshot, record: Record) -> list[float]:
    """Return the first objective of all runs that have a run's configuration and ran to the end."""
    group = next(group for group in group_repeats(snapshot.space, snapshot.records) if record in group.records)
    return list(group.values(snapshot.space.objective.metric).values())


def lead_sentences(snapshot: Snapshot) -> list[str]:
    """Return the lead of the best trial's configuration over each baseline, seed by seed."""
    metric = snapshot.space.objective.metric
    groups = group_repeats(snapshot.space, snapshot.records)
    winner = snapshot.best
    if winner is None:
        return []
    leader = next(group for group in groups if winner in group.records)
    lines = []
    for other in (group for group in groups if group.first.run.kind == "baseline"):
        ours, theirs = leader.values(metric), other.values(metric)
        leads = [100 * (ours[seed] - theirs[seed]) for seed in ours if seed in theirs]
        if leads:
            lines.append(
                f"Best: {leader.name} ({leader.first.run.label}) against {other.name}: {mean(leads):+.1f} points of "
                f"{metric_named(metric).words} ({min(leads):+.1f} to {max(leads):+.1f}; pairs: {len(leads)})"
            )
    return lines


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    text = f"{100 * mean(values):.1f}"
    return f"{text} ({100 * min(values):.1f}-{100 * max(values):.1f})" if len(values) > 1 else text
