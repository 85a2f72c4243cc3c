"""Charts of runs: accuracies with their intervals, learning curves, and the training of one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from trainables.evaluation.metrics import WATCH, accuracies, metric_named, watched_accuracies
from tuner.results.compare import rank_runs
from tuner.results.report.content import Chart
from tuner.results.report.search_charts import axis_title, scaled
from tuner.results.report.style import COLOURS, joined, line, style
from tuner.statistics import interval
from tuner.sweep.confirmation import Confirmation
from tuner.sweep.runs import Record, num_images
from tuner.sweep.snapshot import Rows, Snapshot

MAX_ROWS = 12
"""The best runs that a table or a chart of runs has, beside all baselines."""
_MAX_CURVES = 200


def leading_runs(snapshot: Snapshot) -> list[Record]:
    """Return the best runs and all baselines, as they are ranked."""
    ranked = rank_runs(snapshot)
    trials = [record for record in ranked if record.run.kind == "trial"][:MAX_ROWS]
    return [record for record in ranked if record.run.kind == "baseline" or record in trials]


def robust_with_intervals(snapshot: Snapshot) -> Chart | None:
    """Return robust accuracy of the best trials and the baselines with 95 % intervals; None if there is none."""
    shown = [record for record in leading_runs(snapshot) if "robust" in record.metrics]
    if not shown:
        return None
    images = num_images(shown[0].run.settings, ranked=True)
    names = [record.run.name if record.run.kind == "baseline" else record.run.key for record in shown]
    values = [100 * record.metrics["robust"] for record in shown]
    bounds = [interval(record.metrics["robust"], images) for record in shown]
    colours = [COLOURS[1] if record.run.kind == "baseline" else COLOURS[0] for record in shown]
    figure = _with_intervals(names, values, [(100 * low, 100 * high) for low, high in bounds], colours)
    note = f"95 % intervals of {images:,} validation images (Wilson), of which seeds are no part."
    note += " Blue: baselines." if any(record.run.kind == "baseline" for record in shown) else ""
    return Chart("Robust accuracy", figure, note, height=90 + 26 * len(shown))


def confirmed_with_intervals(confirmation: Confirmation) -> Chart | None:
    """Return the mean on test images of each configuration with its 95 % interval over fresh seeds."""
    shown = [one for one in confirmation.configurations if confirmation.test_metric in one.test]
    if not shown:
        return None
    tests = [one.test[confirmation.test_metric] for one in shown]
    values = [scaled(confirmation.test_metric, test.mean) for test in tests]
    bounds = [
        (
            scaled(confirmation.test_metric, test.mean if test.low is None else test.low),
            scaled(confirmation.test_metric, test.mean if test.high is None else test.high),
        )
        for test in tests
    ]
    colours = [COLOURS[1] if one.is_baseline else COLOURS[0] for one in shown]
    if metric_named(confirmation.test_metric).is_share:
        bounds = [(max(0.0, low), min(100.0, high)) for low, high in bounds]
    figure = _with_intervals([one.display_name for one in shown], values, bounds, colours)
    figure.update_xaxes(title={"text": axis_title(confirmation.test_metric)})
    note = f"Means over {len(confirmation.seeds)} fresh seeds on {confirmation.images:,} test images, 95 % (Student)."
    return Chart("Confirmed", figure, note, height=90 + 30 * len(shown))


def _with_intervals(
    names: Sequence[str],
    values: Sequence[float],
    bounds: Sequence[tuple[float, float]],
    colours: Sequence[str],
) -> go.Figure:
    figure = go.Figure(
        [
            go.Scatter(
                x=[value],
                y=[name],
                mode="markers",
                marker={"color": colour, "size": 9},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [high - value],
                    "arrayminus": [value - low],
                    "color": colour,
                },
                hovertemplate=f"%{{y}}: %{{x:.1f}} ({low:.1f}-{high:.1f})<extra></extra>",
            )
            for name, value, (low, high), colour in zip(names, values, bounds, colours, strict=True)
        ]
    )
    style(figure, x=axis_title("robust"), legend=False)
    return figure.update_yaxes(autorange="reversed", type="category")


def learning_curves(snapshot: Snapshot) -> Chart | None:
    """Return robust accuracy while training by compute: the best trial and the baselines, the others in grey."""
    metric = _watched(snapshot)
    baselines = [record for record in snapshot.records if record.run.kind == "baseline"]
    named = ([snapshot.best] if snapshot.best else []) + baselines
    others = [record for record in rank_runs(snapshot) if record not in named]
    step = max(1, len(others) // _MAX_CURVES)
    grey = [_curve(snapshot.rows.get(record.run.key, ()), metric) for record in others[::step]]
    figure = go.Figure()
    if any(x for x, _ in grey):
        figure.add_trace(joined(grey, "other trials"))
    for place, record in enumerate(named):
        x, y = _curve(snapshot.rows.get(record.run.key, ()), metric)
        best = snapshot.best is not None and record.run.key == snapshot.best.run.key
        name = f"best: {record.run.key} {record.run.label}" if best else record.run.name
        if x:
            figure.add_trace(line(name, x, y, place))
    if not figure.data:
        return None
    style(figure, x="compute, in epochs", y=axis_title(metric))
    drawn = f"{len(grey):,} of {len(others):,} other trials, in grey" if step > 1 else "the other trials in grey"
    return Chart("Learning curves", figure, f"Measured while training, by the weaker attacks; {drawn}.")


def _watched(snapshot: Snapshot) -> str:
    compared = snapshot.space.prune_on.metric
    return compared if metric_named(compared).is_share else f"{WATCH}robust"


def _curve(rows: Rows, metric: str) -> tuple[list[float], list[float]]:
    measured = [row for row in rows if metric in row and "compute" in row]
    return [row["compute"] for row in measured], [scaled(metric, row[metric]) for row in measured]


def training(snapshot: Snapshot, record: Record) -> list[Chart]:
    """Return the accuracies, the losses and the ratio of a run while it trained."""
    rows = snapshot.rows.get(record.run.key, ())
    by = "cycle" if rows and all("cycle" in row for row in rows) else "compute"
    watched = [metric.name for metric in watched_accuracies("comparison")]
    ended = [metric.name for metric in accuracies("comparison")]
    charts = [
        _chart("Accuracy by report", rows, by, watched, "accuracy (%)", stars=ended),
        _chart("Loss in training", rows, by, ["classifier_loss", "generator_loss"], "mean loss"),
        _chart("Ratio", rows, by, ["ratio"], "generator : classifier"),
        _chart("Saturation of the generator", rows, by, ["generator/saturation"], "share of outputs (%)"),
    ]
    return [chart for chart in charts if chart is not None]


def _chart(title: str, rows: Rows, by: str, metrics: Iterable[str], y: str, stars: Iterable[str] = ()) -> Chart | None:
    figure = go.Figure()
    for place, name in enumerate(metrics):
        measured = [row for row in rows if name in row and by in row]
        values = [scaled(name, row[name]) for row in measured]
        if measured:
            figure.add_trace(line(metric_named(name).label, [row[by] for row in measured], values, place))
    if not figure.data:
        return None
    last = rows[-1]
    at_end = {metric_named(name).label: scaled(name, last[name]) for name in stars if name in last}
    if at_end:
        figure.add_trace(
            go.Scatter(
                name="at the end, by stronger attacks",
                x=[last.get(by)] * len(at_end),
                y=list(at_end.values()),
                text=list(at_end),
                mode="markers",
                marker={"symbol": "star", "size": 11, "color": COLOURS[2]},
                hovertemplate="%{text}: %{y:.1f}<extra></extra>",
            )
        )
    along = "cycle" if by == "cycle" else "compute, in epochs"
    style(figure, x=along, y=y, legend=len(figure.data) > 1)
    return Chart(title, figure, height=320)
