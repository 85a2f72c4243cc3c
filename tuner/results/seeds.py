"""Tables of a sweep with several seeds: a configuration's mean and range."""

from __future__ import annotations

from statistics import mean

from rich.table import Table

from trainables.evaluation.metrics import accuracies
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best
from tuner.sweep.repeats import repeats


def table(sweep: SweepFolder) -> Table:
    """Return the means over seeds for a terminal, in percent, each with the lowest and the highest."""
    result = Table(title=f"{sweep.name}: mean over seeds (lowest to highest) of the runs that ran to the end")
    for column in ("configuration", "trainable", "runs"):
        result.add_column(column)
    columns = accuracies("comparison")
    for measure in columns:
        result.add_column(measure.label, justify="right", no_wrap=True)
    for one in repeats(sweep):
        cells = [_spread(list(one.values(metric.name).values())) for metric in columns]
        style = "cyan" if one.first.run.kind == "baseline" else None
        result.add_row(one.name, one.first.run.label, one.outcomes, *cells, style=style)
    return result


def verdict(sweep: SweepFolder) -> list[str]:
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
