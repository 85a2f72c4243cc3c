"""Compares the trials of a sweep with its baselines: one table, and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from statistics import mean

from rich.table import Table

from search_spaces.schema import Space
from trainables.evaluation.metrics import Metric, accuracies, metric_named, watched_accuracies
from tuner.results.seeds import lead_sentences, pooled
from tuner.statistics import interval, is_within_noise
from tuner.sweep.ranking import eligible, explain_no_best
from tuner.sweep.runs import Record, num_images
from tuner.sweep.snapshot import Snapshot


def rank_runs(snapshot: Snapshot) -> list[Record]:
    """Return the runs of the search: complete and feasible ones first, then the other complete ones, then the rest.

    Complete runs are sorted by the objective. The others have not measured it: they are sorted by what trials are
    compared by while they train.
    """

    def sort_key(record: Record) -> tuple[bool, bool, float]:
        is_complete = record.state == "complete"
        measured = snapshot.space.objective if is_complete else snapshot.space.prune_on
        value = record.metrics.get(measured.metric, -measured.sign * float("inf"))
        return not is_complete, not record.feasible, -measured.sign * value

    return sorted(snapshot.records, key=sort_key)


def comparison_table(snapshot: Snapshot) -> Table:
    """Return a row for every run of the search: accuracies in percent, robust accuracy with its 95 % interval.

    What was measured while runs trained has a column of its own. The best trial has a star; with several objectives,
    every trial on the Pareto front has one.
    """
    space, records, winners = snapshot.space, rank_runs(snapshot), snapshot.best_trials
    result = Table(
        title=f"{snapshot.name}: {space.dataset.name}, L-infinity, epsilon {space.evaluation.epsilon:g}, "
        "validation images",
        caption=_measurements(records),
    )
    for column in ("run", "trainable", "state"):
        result.add_column(column, no_wrap=True)
    columns, watched = accuracies("comparison"), _watched_columns(space)
    headings = [metric.label.replace(" ", "\n") for metric in watched]
    for column in (*(metric.label for metric in columns), "95 %", *headings, "compute", "seconds"):
        result.add_column(column, justify="right")
    for record in records:
        style = "bold" if record in winners else "cyan" if record.run.kind == "baseline" else None
        mark = " *" if record in winners else ""
        result.add_row(
            record.run.key + mark, record.run.label, record.outcome, *_cells(record, columns, watched), style=style
        )
    return result


def _watched_columns(space: Space) -> list[Metric]:
    """Return what is shown of the reports: robust accuracy, and what trials are compared by while they train."""
    shown = [metric for metric in watched_accuracies("all") if metric.name == "watch/robust"]
    compared = metric_named(space.prune_on.metric)
    return shown if compared in shown or not compared.is_share else [*shown, compared]


def _measurements(records: Sequence[Record]) -> str | None:
    """Return which attacks and images are behind the two kinds of columns; None if there is no run."""
    if not records:
        return None
    few, many = (num_images(records[0].run.settings, ranked=ranked) for ranked in (False, True))
    return f"watch: while training, weaker attacks, {few:,} images; the others: at the end, {many:,} images"


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
        f"{100 * (mean(values) - record.metrics[metric]):+.1f} points of {metric_named(metric).words}"
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
    names = " against ".join(metric_named(objective.metric).words for objective in objectives)
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
    measured = metric_named(metric)
    return f"{measured.words} {100 * value if measured.is_share else value:.1f}"


def _cells(record: Record, columns: Sequence[Metric], watched: Sequence[Metric]) -> list[str]:
    metrics = record.metrics
    if not metrics or record.is_damaged:
        return ["-"] * (len(columns) + len(watched) + 3)
    shares = [[_percent(metrics.get(column.name)) for column in group] for group in (columns, watched)]
    seconds = metrics["train_s"] + metrics["evaluation_s"]
    return [*shares[0], _interval(record), *shares[1], f"{metrics['compute']:.1f}", f"{seconds:.0f}"]


def _interval(record: Record) -> str:
    if "robust" not in record.metrics:
        return "-"
    low, high = interval(record.metrics["robust"], num_images(record.run.settings, ranked=True))
    return f"{100 * low:.1f}-{100 * high:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
