"""The comparison of a sweep: trials against baselines, as a table and as data, from the sweep's folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from rich.table import Table

from trainables.evaluation.metrics import Metric, accuracies, metric_named
from tuner.results import seeds
from tuner.statistics import interval, is_within_noise
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best, best_trials, eligible, explain_no_best, front
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record, num_images


def ranked(sweep: SweepFolder) -> list[Record]:
    """Return all runs, those that ran to the end first, each group by the objective; the best first."""
    sign = -1.0 if sweep.space.objective.mode == "max" else 1.0
    metric = sweep.space.objective.metric

    def place(record: Record) -> tuple[bool, bool, float]:
        return record.state != "complete", not record.feasible, sign * record.metrics.get(metric, -sign * float("inf"))

    return sorted(read_records(sweep), key=place)


def table(sweep: SweepFolder) -> Table:
    """Return the comparison for a terminal; accuracies in percent, robust accuracy with its 95 % interval.

    The best trial has a star; with several objectives, every trial on the front.
    """
    records = ranked(sweep)
    winners = best_trials(sweep.space, records)
    settings = sweep.space.evaluation
    result = Table(
        title=f"{sweep.name}: {sweep.space.dataset.name}, L-infinity, epsilon {settings.epsilon:g}, validation images"
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


def verdict(sweep: SweepFolder) -> list[str]:
    """Return what may be said: the best trial's lead over each baseline, and how far that carries."""
    records = read_records(sweep)
    winner = best(records, sweep.space.objective.mode)
    metric = sweep.space.objective.metric
    if winner is None:
        return [explain_no_best(records)]
    if len(sweep.space.objectives) > 1:
        return _front_lines(sweep, records)
    if sweep.num_seeds > 1:
        caution = (
            "Compared in pairs of equal seeds, chosen and measured on the same validation images: a lead, no claim."
        )
        return [*seeds.verdict(sweep), caution]
    lines = [
        f"Best: {winner.run.key} ({winner.run.label}) against {record.run.key.removeprefix('baseline-')}: "
        f"{100 * (winner.metrics[metric] - record.metrics[metric]):+.1f} points of {metric.replace('_', ' ')}"
        for record in records
        if record.run.kind == "baseline" and record.state == "complete"
    ]
    return [
        *lines,
        *_noise(sweep, records),
        "One seed each, chosen and measured on the same validation images: a lead to follow up, not a claim.",
    ]


def _noise(sweep: SweepFolder, records: list[Record]) -> list[str]:
    """Say how many of the best trials' values differ by no more than which images were taken can explain."""
    objective = sweep.space.objective
    if not metric_named(objective.metric).is_share:
        return []
    ordered = sorted(eligible(records), key=lambda record: -objective.sign * (record.value or 0.0))
    first, images = ordered[0], num_images(ordered[0].run.settings, ranked=True)

    def is_tied(other: Record) -> bool:
        values = sorted((first.value or 0.0, other.value or 0.0), reverse=True)
        return is_within_noise(values[0], values[1], images)

    tied = list(takewhile(is_tied, ordered))
    if len(tied) < 2:
        return []
    return [
        f"The top {len(tied)} are not distinguishable: the lead of {first.run.key} is within the noise of {images:,} "
        f"validation images. `tuner confirm {sweep.name}` runs the best again, with fresh seeds."
    ]


def _front_lines(sweep: SweepFolder, records: list[Record]) -> list[str]:
    """Return the trials on the front with their objectives, and how far that carries."""
    standing = front(records, sweep.space.objectives)
    names = " against ".join(one.metric.replace("_", " ") for one in sweep.space.objectives)
    whole = sum(record.run.kind == "trial" and record.state == "complete" for record in records)
    return [
        f"Front of {names}: {len(standing)} of {whole} trials that ran to the end",
        *(
            f"  {record.run.key} ({record.run.label}): "
            + ", ".join(_objective(one.metric, record.metrics[one.metric]) for one in sweep.space.objectives)
            for record in standing
        ),
        "One seed each, chosen and measured on the same validation images: leads to follow up, not claims.",
    ]


def _objective(metric: str, value: float) -> str:
    name = metric.replace("_", " ")
    return f"{name} {100 * value:.1f}" if metric_named(metric).is_share else f"{name} {value:.1f}"


def _cells(record: Record, columns: Sequence[Metric]) -> list[str]:
    metrics = record.metrics
    if not metrics:
        return ["-"] * (len(columns) + 3)
    shares = [f"{100 * metrics[one.name]:.1f}" if one.name in metrics else "-" for one in columns]
    low, high = interval(metrics["robust_accuracy"], num_images(record.run.settings, ranked=record.state == "complete"))
    seconds = metrics["train_s"] + metrics["evaluation_s"]
    return [*shares, f"{100 * low:.1f}-{100 * high:.1f}", f"{metrics['compute']:.1f}", f"{seconds:.0f}"]
