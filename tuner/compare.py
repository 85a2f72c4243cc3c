"""The comparison of a sweep: trials against baselines, as a table and as data, from the sweep's folder alone."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.table import Table

from tuner import repeats
from tuner.ledger import read_records
from tuner.records import MEASURES, Record, best, describe_ratio, flatten, num_images, why_none_is_best
from tuner.statistics import interval
from tuner.sweep import Sweep


def ranked(sweep: Sweep) -> list[Record]:
    """Return all runs, those that ran to the end first, each group by the objective; the best first."""
    sign = -1.0 if sweep.space.objective.mode == "max" else 1.0
    metric = sweep.space.objective.metric

    def place(record: Record) -> tuple[bool, bool, float]:
        return record.state != "complete", not record.feasible, sign * record.metrics.get(metric, -sign * float("inf"))

    return sorted(read_records(sweep), key=place)


def frame(sweep: Sweep) -> pd.DataFrame:
    """Return one row per run: what it is, how it ended, its last metrics, its settings as ``settings.*`` columns."""
    rows: list[dict[str, Any]] = []
    for record in ranked(sweep):
        ratio = record.run.settings.get("ratio")
        rows.append(
            {
                "run": record.run.key,
                "kind": record.run.kind,
                "trainable": record.run.settings["trainable"],
                "schedule": describe_ratio(ratio) if ratio else None,
                "state": record.state,
                "feasible": record.feasible,
                **{name: value for name, value in record.metrics.items() if name != "time"},
                "reason": record.reason,
                **{f"settings.{name}": value for name, value in flatten(record.run.settings).items()},
            }
        )
    return pd.DataFrame(rows)


def table(sweep: Sweep) -> Table:
    """Return the comparison for a terminal; accuracies in percent, robust accuracy with its 95 % interval."""
    records = ranked(sweep)
    winner = best(records, sweep.space.objective.mode)
    settings = sweep.space.evaluation
    result = Table(
        title=f"{sweep.name}: {sweep.space.dataset.name}, L-infinity, epsilon {settings.epsilon:g}, validation images"
    )
    for column in ("run", "trainable", "state"):
        result.add_column(column, no_wrap=True)
    for column in (*MEASURES, "95 %", "compute", "seconds"):
        result.add_column(column, justify="right")
    for record in records:
        style = "bold" if record is winner else "cyan" if record.run.kind == "baseline" else None
        mark = " *" if record is winner else ""
        result.add_row(record.run.key + mark, record.run.label, record.outcome, *_cells(record), style=style)
    return result


def verdict(sweep: Sweep) -> list[str]:
    """Return what may be said: the best trial's lead over each baseline, and how far that carries."""
    records = read_records(sweep)
    winner = best(records, sweep.space.objective.mode)
    metric = sweep.space.objective.metric
    if winner is None:
        return [why_none_is_best(records)]
    if sweep.num_seeds > 1:
        caution = (
            "Compared in pairs of equal seeds, chosen and measured on the same validation images: a lead, no claim."
        )
        return [*repeats.verdict(sweep), caution]
    lines = [
        f"Best: {winner.run.key} ({winner.run.label}) against {record.run.key.removeprefix('baseline-')}: "
        f"{100 * (winner.metrics[metric] - record.metrics[metric]):+.1f} points of {metric.replace('_', ' ')}"
        for record in records
        if record.run.kind == "baseline" and record.state == "complete"
    ]
    return [
        *lines,
        "One seed each, chosen and measured on the same validation images: a lead to follow up, not a claim.",
    ]


def _cells(record: Record) -> list[str]:
    metrics = record.metrics
    if not metrics:
        return ["-"] * (len(MEASURES) + 3)
    accuracies = [f"{100 * metrics[name]:.1f}" for name in MEASURES.values()]
    low, high = interval(metrics["robust_accuracy"], num_images(record.run.settings, ranked=record.state == "complete"))
    seconds = metrics["train_s"] + metrics["evaluation_s"]
    return [*accuracies, f"{100 * low:.1f}-{100 * high:.1f}", f"{metrics['compute']:.1f}", f"{seconds:.0f}"]
