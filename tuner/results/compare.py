"""Compares the trials of a sweep with its baselines: one table, and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from statistics import mean

from rich.table import Table

from trainables.evaluation.metrics import Metric, accuracies, metric_named
from tuner.results.seeds import lead_sentences, pooled
from tuner.statistics import interval, is_within_noise
from tuner.sweep.ranking import eligible, explain_no_best
from tuner.sweep.runs import Record, num_images
from tuner.sweep.snapshot import Snapshot


def rank_runs(snapshot: Snapshot) -> list[Record]:
    """Return the runs of the search: complete and feasible ones first, each group sorted by the objective."""
    objective = snapshot.space.objective

    def sort_key(record: Record) -> tuple[bool, bool, float]:
        value = record.metrics.get(objective.metric, objective.sign * float("inf"))
        return record.state != "complete", not record.feasible, -objective.sign * value

    return sorted(snapshot.records, key=sort_key)


def comparison_table(snapshot: Snapshot) -> Table:
    """Return a row for every run of the search: accuracies in percent, robust accuracy with its 95 % interval.

    The best trial has a star; with several objectives, every trial on the Pareto front has one.
    """
    space, records, winners = snapshot.space, rank_runs(snapshot), snapshot.best_trials
    result = Table(
        title=f"{snapshot.name}: {space.dataset.name}, L-infinity, epsilon {space.evaluation.epsilon:g}, "
        "validation images"
    )
    for column in ("run", "trainable", "state"):
        result.add_column(column, no_wrap=True)
    columns = accuracies("comparison")
    for column in (*(metric.label for metric in columns), "95 %", "compute", "seconds"):
        result.add_column(column, justify="right")
    for record in records:
        style = "bold" if record in winners else "cyan" if record.run.kind == "baseline" else None
        mark = " *" if record in winners else ""
        result.add_row(record.run.key + mark, record.run.label, record.outcome, *_cells(record, columns), style=style)
    return result


def comparison_sentences(snapshot: Snapshot) -> list[str]:
    """Return the best trial's lead over each baseline in sentences, with what limits their meaning."""
    records, space, winner = snapshot.records, snapshot.space, snapshot.best
    metric = space.objective.metric
    if winner is None:
        return [explain_no_best(records)]
    if len(space.objectives) > 1:
        return _front_sentences(snapshot)
    if snapshot.sweep.num_seeds > 1:
        caution = (
            "Compared in pairs of equal seeds, chosen and measured on the same validation images: a lead, no claim."
        )
        return [*lead_sentences(snapshot), caution]
    values = pooled(snapshot, winner)
    seeds = f", mean of {len(values)} seeds," if len(values) > 1 else ""
    lines = [
        f"Best: {winner.run.key} ({winner.run.label}){seeds} against {record.run.name}: "
        f"{100 * (mean(values) - record.metrics[metric]):+.1f} points of {metric.replace('_', ' ')}"
        for record in records
        if record.run.kind == "baseline" and record.state == "complete"
    ]
    return [
        *lines,
        *_noise_sentences(snapshot),
        f"{'Few seeds' if seeds else 'One seed each'}, chosen and measured on the same validation images: "
        "a lead to follow up, not a claim.",
    ]


def _noise_sentences(snapshot: Snapshot) -> list[str]:
    """Return how many of the best trials differ by no more than the choice of images can explain, if several do."""
    objective = snapshot.space.objective
    if not metric_named(objective.metric).is_share:
        return []
    ordered = sorted(eligible(snapshot.records), key=lambda record: -objective.sign * (record.value or 0.0))
    first, images = ordered[0], num_images(ordered[0].run.settings, ranked=True)

    def is_tied(other: Record) -> bool:
        values = sorted((first.value or 0.0, other.value or 0.0), reverse=True)
        return is_within_noise(values[0], values[1], images)

    tied = list(takewhile(is_tied, ordered))
    if len(tied) < 2:
        return []
    return [
        f"The top {len(tied)} are not distinguishable: the lead of {first.run.key} is within the noise of {images:,} "
        f"validation images. `tuner confirm {snapshot.name}` runs the best again, with fresh seeds."
    ]


def _front_sentences(snapshot: Snapshot) -> list[str]:
    """Return the trials on the Pareto front with their objectives, and what limits their meaning."""
    objectives, nondominated = snapshot.space.objectives, snapshot.best_trials
    names = " against ".join(objective.metric.replace("_", " ") for objective in objectives)
    whole = sum(record.run.kind == "trial" and record.state == "complete" for record in snapshot.records)
    return [
        f"Front of {names}: {len(nondominated)} of {whole} trials that ran to the end",
        *(
            f"  {record.run.key} ({record.run.label}): "
            + ", ".join(_objective(objective.metric, record.metrics[objective.metric]) for objective in objectives)
            for record in nondominated
        ),
        "One seed each, chosen and measured on the same validation images: leads to follow up, not claims.",
    ]


def _objective(metric: str, value: float) -> str:
    name = metric.replace("_", " ")
    return f"{name} {100 * value:.1f}" if metric_named(metric).is_share else f"{name} {value:.1f}"


def _cells(record: Record, columns: Sequence[Metric]) -> list[str]:
    metrics = record.metrics
    if not metrics or record.is_damaged:
        return ["-"] * (len(columns) + 3)
    shares = [f"{100 * metrics[column.name]:.1f}" if column.name in metrics else "-" for column in columns]
    low, high = interval(metrics["robust_accuracy"], num_images(record.run.settings, ranked=record.state == "complete"))
    seconds = metrics["train_s"] + metrics["evaluation_s"]
    return [*shares, f"{100 * low:.1f}-{100 * high:.1f}", f"{metrics['compute']:.1f}", f"{seconds:.0f}"]
