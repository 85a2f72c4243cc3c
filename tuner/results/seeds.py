"""Compares configurations with several seeds: leads in pairs of equal seeds."""

from __future__ import annotations

from statistics import mean

from trainables.evaluation.metrics import metric_named
from tuner.search.repeats import group_repeats
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Snapshot


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
