"""The table of a sweep's runs: trials beside baselines, and of every setting that can be chosen as a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from statistics import mean

from search_spaces.schema import Space
from trainables.common.tasks import NORMS
from trainables.config import metric_of_attack
from trainables.evaluation.metrics import Metric, accuracies, metric_named, watched_accuracies
from tuner.results.compare import rank_runs, sort_key_of_runs
from tuner.results.frames import RUN_COLUMNS, run_values
from tuner.results.terminal.columns import (
    NOTHING,
    Column,
    Row,
    Table,
    Values,
    fixed,
    metric_column,
    percent,
)
from tuner.search.repeats import group_repeats
from tuner.statistics import interval
from tuner.sweep.runs import Record, baseline_name, num_images
from tuner.sweep.snapshot import Snapshot

_RANKS = {"robust": 0, "clean": 1}
_OTHER_RANK = 4


def _ball(space: Space) -> str:
    return f"{NORMS[space.evaluation.norm]}, epsilon {space.evaluation.epsilon:g}"


def comparison_table(snapshot: Snapshot) -> Table:
    """Return a row for every run of the search: accuracies in percent, robust accuracy with its 95 % interval.

    The best trial has a star; with several objectives, every trial on the Pareto front has one.
    """
    space = snapshot.space
    title = f"{snapshot.name}: {space.dataset.name}, {_ball(space)}, validation images"
    rows = run_rows(snapshot, rank_runs(snapshot))
    return Table(title, run_columns(space), rows, first_keys=tuple(RUN_COLUMNS), note=_measurements(snapshot.records))


def several_table(snapshots: Sequence[Snapshot]) -> Table:
    """Return a row for every run of several sweeps, best first; see `comparison_table`."""
    space = snapshots[0].space
    rows = [
        (record, replace(row, values={"sweep": one.name, **row.values}))
        for one in snapshots
        for record in rank_runs(one)
        for row in run_rows(one, [record])
    ]

    def sort_key(entry: tuple[Record, Row]) -> tuple[bool, bool, float, float]:
        return sort_key_of_runs(entry[0], space)

    ordered = tuple(row for _, row in sorted(rows, key=sort_key))
    names = " and ".join(one.name for one in snapshots)
    title = f"{names}: {space.dataset.name}, {_ball(space)}, validation images"
    columns = (Column("sweep", "sweep", "name"), *run_columns(space))
    return Table(title, columns, ordered, first_keys=("sweep", *RUN_COLUMNS))


def _measurements(records: Sequence[Record]) -> str:
    """Return which attacks and images are behind the two kinds of columns; nothing if there is no run."""
    if not records:
        return ""
    few, many = (num_images(records[0].run.settings, ranked=ranked) for ranked in (False, True))
    return f"watch: while training, weaker attacks, {few:,} images; the others: at the end, {many:,} images"


def seeds_table(snapshot: Snapshot) -> Table:
    """Return a row for every configuration: its accuracies as mean (lowest to highest) over seeds, in percent."""
    columns = (
        Column("configuration", "configuration", "name"),
        Column("label", "trainable", "name", rank=5),
        Column("outcomes", "runs", "words", rank=2),
        *(spread_column(metric) for metric in _accuracies_of(snapshot.space)),
    )
    rows = []
    for group in group_repeats(snapshot.space, snapshot.records):
        style = "cyan" if group.first.run.kind == "baseline" else None
        about = {"configuration": group.name, "label": group.first.run.label, "outcomes": group.outcomes}
        spreads = (
            spread_values(metric.name, list(group.values(metric.name).values()))
            for metric in _accuracies_of(snapshot.space)
        )
        rows.append(Row(dict(chain(about.items(), *(spread.items() for spread in spreads))), style))
    title = f"{snapshot.name}: mean over seeds (lowest to highest) of the runs that ran to the end"
    return Table(title, columns, tuple(rows))


def spread_values(metric: str, values: Sequence[float]) -> dict[str, object]:
    """Return the mean of a metric over runs under its name, and its lowest and highest values beside it."""
    if not values:
        return {metric: None, f"{metric}_low": None, f"{metric}_high": None}
    return {metric: mean(values), f"{metric}_low": min(values), f"{metric}_high": max(values)}


def spread_column(metric: Metric, heading: str = "") -> Column:
    """Return the column of what `spread_values` returns: the mean, and the range where it is one, in percent."""
    low, high = f"{metric.name}_low", f"{metric.name}_high"

    def text(values: Values) -> str:
        whole = percent(values.get(metric.name))
        return (
            whole
            if values.get(low) == values.get(high)
            else f"{whole} ({percent(values[low])}-{percent(values[high])})"
        )

    column = metric_column(metric, _RANKS.get(metric.name, _OTHER_RANK), heading)
    return replace(column, text=text, also=(low, high))


def _accuracies_of(space: Space) -> list[Metric]:
    """Return the accuracies that the runs of a space are compared by."""
    return accuracies("comparison", map(metric_of_attack, space.evaluation.attacks))


def run_columns(space: Space) -> tuple[Column, ...]:
    """Return the columns of a table of runs: accuracies at their end, then while they train; the objective's stays."""
    ranks = {**_RANKS, space.objective.metric: 0}
    watched = [metric for metric in watched_accuracies("all") if metric.name == "watch/robust"]
    compared = metric_named(space.prune_on.metric)
    watched += [compared] if compared not in watched and compared.group == "watch" else []
    return (
        Column("run", "run", "name", text=marked_run),
        Column("label", "trainable", "name", rank=5),
        Column("outcome", "state", "words", rank=2),
        *(_accuracy(metric, ranks.get(metric.name, _OTHER_RANK)) for metric in _accuracies_of(space)),
        Column("interval_low", "95 %", rank=3, text=_interval, better="max", also=("interval_high",)),
        *(_accuracy(metric, 3) for metric in watched),
        Column("compute", "compute", rank=ranks.get("compute", 6), text=fixed("compute"), better="min"),
        Column("seconds", "seconds", rank=7, text=fixed("seconds", 0), better="min"),
    )


def run_rows(snapshot: Snapshot, records: Sequence[Record]) -> tuple[Row, ...]:
    """Return a row for each run: all that is known of it, and whether it is among the best trials."""
    winners = snapshot.best_trials
    return tuple(_row(record, snapshot.outcome_of(record), is_best=record in winners) for record in records)


def _row(record: Record, outcome: str, *, is_best: bool) -> Row:
    style = "bold" if is_best else "cyan" if record.run.kind == "baseline" else None
    about = {"label": record.run.label, "outcome": outcome, "best": is_best}
    return Row({**run_values(record), **about, **_measured(record)}, style)


def _measured(record: Record) -> dict[str, object]:
    """Return the 95 % interval of a run's robust accuracy, and the seconds that it has taken."""
    metrics = record.metrics
    if not metrics or record.is_damaged:
        return {"interval_low": None, "interval_high": None, "seconds": None}
    low, high = None, None
    if "robust" in metrics:
        low, high = interval(metrics["robust"], num_images(record.run.settings, ranked=True))
    return {"interval_low": low, "interval_high": high, "seconds": metrics["train_s"] + metrics["evaluation_s"]}


def _accuracy(metric: Metric, rank: int) -> Column:
    def text(values: Values) -> str:
        return NOTHING if values.get("state") == "damaged" else percent(values.get(metric.name))

    return replace(metric_column(metric, rank), text=text)


def marked_run(values: Values) -> str:
    """Return the name of a run, with a star if it is among the best trials."""
    name = baseline_name(str(values["run"])) or str(values["run"])
    return f"{name} *" if values.get("best") else name


def _interval(values: Values) -> str:
    low, high = values.get("interval_low"), values.get("interval_high")
    return NOTHING if low is None else f"{percent(low)}-{percent(high)}"
