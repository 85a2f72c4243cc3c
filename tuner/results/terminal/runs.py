"""Runs in a terminal: all of a sweep with the settings in which they differ, or one with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain

from search_spaces.parameters import settings_decided
from trainables.common.valid_json import dump_json
from trainables.evaluation.checks import from_metrics
from trainables.evaluation.metrics import TIME, accuracies, metric_named, watched_accuracies
from tuner.results.frames import RUN_COLUMNS, SETTINGS, run_values
from tuner.results.terminal.columns import Column, Row, Table, fixed, metric_column
from tuner.results.terminal.comparison import marked_run, run_columns, run_rows
from tuner.results.terminal.evaluation import describe_masking
from tuner.sweep.runs import Record, flatten
from tuner.sweep.snapshot import Snapshot
from tuner.sweep.status import format_duration


def runs_table(snapshot: Snapshot) -> Table:
    """Return a row for every run of the search, in its order, with the settings that differ between trials."""
    space = snapshot.space
    rows = run_rows(snapshot, snapshot.records)
    described = {"trainable", "seed"}
    decided = chain.from_iterable(settings_decided(parameter) for parameter in space.parameters if parameter.varies)
    varying = [name for name in dict.fromkeys(decided) if name not in described]
    shown = [
        Column("run", "run", "name", text=marked_run),
        *(column for column in run_columns(space) if column.key in ("outcome", "clean", "robust", "watch/robust")),
        *(_setting(name, 2 + place) for place, name in enumerate(varying)),
    ]
    title = f"{snapshot.name}: runs in the order in which they began, with the settings in which trials differ"
    return Table(title, tuple(shown), rows, run_columns(space), first_keys=tuple(RUN_COLUMNS))


def _setting(name: str, rank: int) -> Column:
    return Column(SETTINGS + name, name.replace(".", " ").replace("_", " "), rank=rank)


def describe_run(snapshot: Snapshot, record: Record) -> list[str]:
    """Return what a run is, how it ended, what it measured and cost, and its settings, in lines."""
    return list(_description(snapshot, record))


def _description(snapshot: Snapshot, record: Record) -> Iterator[str]:
    run, space = record.run, snapshot.space
    best = ", the best trial" if snapshot.best is record else ""
    yield f"{run.key} of {snapshot.name}: {run.label}, {snapshot.outcome_of(record)}{best}"
    if record.reason:
        yield f"reason: {record.reason.strip().splitlines()[-1]}"
    if record.metrics and not record.is_damaged:
        yield from describe_metrics(record.metrics)
        seconds = (record.metrics["train_s"], record.metrics["evaluation_s"])
        yield (
            f"cost: {record.metrics['compute']:.1f} of {space.budget.compute:g} epochs of compute; "
            f"{format_duration(seconds[0])} of training and {format_duration(seconds[1])} of evaluation"
        )
    if run.key in snapshot.evaluations:
        results = snapshot.evaluations[run.key]
        images = f"{results.images:,} {results.split} images"
        yield f"accuracy on {images} in %, tier {results.tier}: {_shares(results.metrics)}"
    yield f"folder: {run.folder}"
    yield "settings:"
    for name, value in flatten(run.settings).items():
        yield f"  {name} {value}"


def describe_metrics(metrics: dict[str, float]) -> Iterator[str]:
    """Yield the accuracies on validation images that a report holds, and what the checks for masking say."""
    yield f"accuracy on validation images in %: {_shares(metrics)}"
    if masking := describe_masking(metrics):
        yield f"masking: {masking} ({len(from_metrics(metrics))} checks)"


def _shares(metrics: dict[str, float]) -> str:
    shown = [metric for metric in accuracies("all", metrics) if metric.name in metrics]
    shown = shown or [metric for metric in watched_accuracies("all") if metric.name in metrics]
    return ", ".join(f"{metric.label} {100 * metrics[metric.name]:.1f}" for metric in shown)


def reports_table(snapshot: Snapshot, record: Record) -> Table:
    """Return a row for each report of a run.

    Args:
        snapshot: with rows.
        record: of the run.
    """
    reports = snapshot.rows.get(record.run.key, [])
    names = dict.fromkeys(name for report in reports for name in report if name != TIME)
    shown = [
        "compute",
        *(metric.name for metric in (*watched_accuracies("comparison"), *accuracies("comparison"))),
        "classifier_loss",
        "generator_loss",
        "ratio",
    ]
    columns = [_report_column(name, rank) for rank, name in enumerate(shown) if name in names]
    columns.append(Column("train_s", "training s", rank=8, text=fixed("train_s")))
    others = tuple(metric_column(metric_named(name)) for name in names)
    rows = tuple(Row({**report, TIME: _iso(report.get(TIME))}) for report in reports)
    return Table(f"{record.run.key}: what it reported, at which compute", tuple(columns), rows, others)


def _report_column(name: str, rank: int) -> Column:
    if name in ("robust", "watch/robust"):
        rank = 0
    if name == "compute":
        return Column(name, "compute", text=fixed(name))
    return metric_column(metric_named(name), rank)


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def run_document(snapshot: Snapshot, record: Record) -> str:
    """Return all that is known of a run as JSON."""
    values = {name: value for name, value in run_values(record).items() if not name.startswith(SETTINGS)}
    evaluation = snapshot.evaluations.get(record.run.key)
    return dump_json(
        {
            **values,
            "sweep": snapshot.name,
            "label": record.run.label,
            "outcome": snapshot.outcome_of(record),
            "best": snapshot.best is record,
            "folder": str(record.run.folder),
            "settings": record.run.settings,
            "reports": snapshot.rows.get(record.run.key, []),
            "test": evaluation.model_dump(mode="json") if evaluation else None,
        }
    )
