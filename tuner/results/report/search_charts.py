"""Charts of a search: the best so far, what mattered, slices, all parameters together, and the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial

from search_spaces.sections import Objective
from trainables.evaluation.metrics import metric_named
from tuner.results.report.content import Chart
from tuner.results.report.study import StudyView
from tuner.results.report.style import COLOURS, GREY, line, style
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Snapshot

_MAX_SLICES, _MAX_TOGETHER = 8, 8
_MAX_POINTS = 2000
_MAX_TICKS = 12
_EARLY_TO_LATE = ((0.0, "#aeb6bf"), (1.0, COLOURS[1]))  # both are seen on a white page and on a dark one


def scaled(metric: str, value: float) -> float:
    """Return a value of a metric as charts show it: shares of the images in percent."""
    return 100 * value if metric_named(metric).is_share else value


def axis_title(metric: str) -> str:
    """Return what an axis is called that shows a metric."""
    measured = metric_named(metric)
    return f"{measured.words} (%)" if measured.is_share else measured.words


def best_over_compute(snapshot: Snapshot) -> Chart | None:
    """Return the best value so far by the compute that all trials have had; None if no trial is complete."""
    objective = snapshot.space.objective

    def ended(record: Record) -> tuple[float, int]:
        rows = snapshot.rows.get(record.run.key)
        return rows[-1].get("time", float("inf")) if rows else float("inf"), record.run.number

    trials = sorted((record for record in snapshot.records if record.run.kind == "trial"), key=ended)
    spent = list(accumulate(record.metrics.get("compute", 0.0) for record in trials))
    points = [
        (compute, record, scaled(objective.metric, record.value))
        for compute, record in zip(spent, trials, strict=True)
        if record.state == "complete" and record.feasible and record.value is not None
    ]
    if not points:
        return None
    better = max if objective.sign > 0 else min
    so_far = list(accumulate((value for _, _, value in points), better))
    last = len(points) - 1
    steps = [place for place, value in enumerate(so_far) if place in (0, last) or value != so_far[place - 1]]
    shown = points[:: max(1, len(points) // _MAX_POINTS)]
    figure = go.Figure(
        [
            go.Scatter(
                name="complete trials",
                x=[compute for compute, _, _ in shown],
                y=[value for _, _, value in shown],
                text=[record.run.key for _, record, _ in shown],
                mode="markers",
                marker={"color": GREY, "size": 6},
                hovertemplate="%{text}: %{y:.1f}<extra></extra>",
            ),
            go.Scatter(
                name="best so far",
                x=[points[place][0] for place in steps],
                y=[so_far[place] for place in steps],
                mode="lines",
                line={"shape": "hv", "color": COLOURS[0], "width": 3},
            ),
        ]
    )
    baselines = [
        record for record in snapshot.records if record.run.kind == "baseline" and objective.metric in record.metrics
    ]
    for place, record in enumerate(baselines, 1):
        value = scaled(objective.metric, record.metrics[objective.metric])
        figure.add_trace(
            go.Scatter(
                name=record.run.name,
                x=[0, spent[-1]],
                y=[value, value],
                mode="lines",
                line={"color": COLOURS[place % len(COLOURS)], "dash": "dash", "width": 1.5},
            )
        )
    style(figure, x="compute of all trials, in epochs", y=axis_title(objective.metric))
    return Chart("Best trial so far, by compute", figure, "Dashed: the baselines." if baselines else "")


def importance(view: StudyView) -> Chart | None:
    """Return the importance of the parameters; None if it is not known."""
    if not view.importance:
        return None
    names = list(reversed(view.importance))
    shares = [100 * view.importance[name] for name in names]
    figure = go.Figure(
        go.Bar(
            x=shares,
            y=names,
            orientation="h",
            marker={"color": COLOURS[1]},
            texttemplate="%{x:.0f} %",
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        )
    )
    style(figure, x="importance (%)", legend=False)
    figure.update_xaxes(range=[0, 1.18 * max(shares)])
    return Chart(
        "What mattered",
        figure,
        f"PED-ANOVA over {len(view.complete):,} complete trials: how differently the best tenth of them is spread over "
        "a parameter's range than all. With few trials an orientation, not a result.",
        height=max(160, 60 + 26 * len(names)),
    )


def slices(snapshot: Snapshot, view: StudyView) -> list[Chart]:
    """Return a chart of the objective by each parameter that mattered, the most important first."""
    charts: list[Chart] = []
    for name in view.important[:_MAX_SLICES]:
        trials = [trial for trial in view.shown if name in trial.params]
        if len({str(trial.params[name]) for trial in trials}) > 1:
            note = "" if charts else "From grey to blue: from early trials to late ones. Star: the best."
            charts.append(_slice(snapshot, name, trials, note))
    return charts


def _slice(snapshot: Snapshot, name: str, trials: Sequence[FrozenTrial], note: str) -> Chart:
    objective, best = snapshot.space.objective, snapshot.best
    starred = [trial for trial in trials if best is not None and trial.number == best.run.number]
    dots = {"color": [trial.number for trial in trials], "colorscale": _EARLY_TO_LATE, "size": 7}
    star = {"color": COLOURS[2], "symbol": "star", "size": 14}
    figure = go.Figure()
    for some, marker in ((trials, dots), (starred, star)):
        figure.add_trace(
            go.Scatter(
                x=[_shown(trial.params[name]) for trial in some],
                y=[scaled(objective.metric, trial.values[0]) for trial in some],
                text=[f"trial {trial.number}" for trial in some],
                mode="markers",
                marker=marker,
                hovertemplate="%{text}: %{x}, %{y:.1f}<extra></extra>",
            )
        )
    style(figure, x=name, y=axis_title(objective.metric), legend=False)
    domain = trials[0].distributions[name]
    if isinstance(domain, CategoricalDistribution):
        names = [_shown(value) for value in domain.choices]
        figure.update_xaxes(type="category", categoryorder="array", categoryarray=names)
    elif getattr(domain, "log", False):
        figure.update_xaxes(type="log", exponentformat="power", dtick=1)
    elif isinstance(domain, IntDistribution) and domain.high - domain.low <= _MAX_TICKS:
        figure.update_xaxes(dtick=1)
    return Chart(name, figure, note, height=280)


def _shown(value: object) -> object:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def together(snapshot: Snapshot, view: StudyView) -> Chart | None:
    """Return the parameters that mattered as parallel coordinates; None if fewer than two are in most trials."""
    metric = snapshot.space.objective.metric
    common = [
        name for name in view.important if 2 * sum(name in trial.params for trial in view.shown) >= len(view.shown)
    ]
    names = common[:_MAX_TOGETHER]
    trials = [trial for trial in view.shown if all(name in trial.params for name in names)]
    if len(names) < 2 or len(trials) < 2:
        return None
    values = [scaled(metric, trial.values[0]) for trial in trials]
    figure = go.Figure(
        go.Parcoords(
            dimensions=[
                *(_dimension(name, label, trials) for name, label in reversed(_labels(names).items())),
                {"label": axis_title(metric), "values": values},
            ],
            line={"color": values, "colorscale": "Viridis", "showscale": False},
        )
    )
    style(figure, legend=False)
    figure.update_layout(margin={"l": 90, "r": 90, "t": 60, "b": 20})
    note = f"A line is one of {len(trials):,} complete trials that have all of these. Drag along an axis to choose."
    return Chart("Parameters together", figure, note, height=400, min_width=160 * (len(names) + 1))


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Return what parameters are called where there is little room: their last words, unless two have the same."""
    last = {name: name.rsplit(".", maxsplit=1)[-1] for name in names}
    return {name: word if list(last.values()).count(word) == 1 else name for name, word in last.items()}


def _dimension(name: str, label: str, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    domain, values = trials[0].distributions[name], [trial.params[name] for trial in trials]
    titled: dict[str, Any] = {"label": label}
    if isinstance(domain, CategoricalDistribution):
        places = list(range(len(domain.choices)))
        at = [domain.choices.index(value) for value in values]
        return titled | {"values": at, "tickvals": places, "ticktext": [str(choice) for choice in domain.choices]}
    if not getattr(domain, "log", False):
        return titled | {"values": values}
    low, high = math.log10(domain.low), math.log10(domain.high)  # type: ignore[attr-defined]
    ticks = [low + (high - low) * part / 4 for part in range(5)]
    return titled | {
        "values": [math.log10(value) for value in values],
        "tickvals": ticks,
        "ticktext": [f"{10**tick:.2g}" for tick in ticks],
    }


def front(snapshot: Snapshot, view: StudyView) -> Chart | None:
    """Return the trials by the first two objectives; None for a single objective."""
    objectives: Sequence[Objective] = snapshot.space.objectives[:2]
    if len(objectives) < 2:
        return None
    along_y, along_x = objectives

    def point(record: Record) -> tuple[float, float]:
        x, y = (scaled(each.metric, record.metrics[each.metric]) for each in (along_x, along_y))
        return x, y

    complete = [record for record in snapshot.records if record.state == "complete"]
    best = snapshot.best_trials
    shown = {trial.number for trial in view.shown}
    others = [
        record
        for record in complete
        if record.run.kind == "trial" and record not in best and record.run.number in shown
    ]
    figure = go.Figure([_points("other trials", [point(record) for record in others], others, GREY)])
    x, y = ([point(record)[axis] for record in best] for axis in (0, 1))
    shape = "hv" if along_x.sign > 0 else "vh"
    figure.add_trace(line("front", x, y, 0, text=[record.run.key for record in best], line={"shape": shape}))
    for place, record in enumerate((one for one in complete if one.run.kind == "baseline"), 1):
        figure.add_trace(_points(record.run.name, [point(record)], [record], COLOURS[place % len(COLOURS)], size=10))
    style(figure, x=axis_title(along_x.metric), y=axis_title(along_y.metric))
    return Chart("Front", figure, "Trials on the front are not beaten in both objectives by any other.")


def _points(
    name: str, points: Sequence[tuple[float, float]], records: Sequence[Record], colour: str, size: int = 6
) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=[x for x, _ in points],
        y=[y for _, y in points],
        text=[record.run.key for record in records],
        mode="markers",
        marker={"color": colour, "size": size},
        hovertemplate="%{text}: %{x:.1f}, %{y:.1f}<extra></extra>",
    )
