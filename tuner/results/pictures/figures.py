"""Makes Matplotlib figures from numbers and arrays; reads and writes no files."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from trainables.common.process_state import environment_kept
from trainables.common.tasks import NORMS, Norm

if "matplotlib" not in sys.modules:
    # With MPLBACKEND of a notebook's kernel, which this Python may lack, the import fails; the canvas is chosen here.
    with environment_kept():
        backend = os.environ.pop("MPLBACKEND", "")
        import matplotlib
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from search_spaces.schedule_preview import MOMENTS, SchedulePreview
from trainables.evaluation.metrics import WATCH, Metric, accuracies, watched_accuracies
from tuner.statistics import interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from trainables.judging.examples import ClassifiedImages, Examples


Rows = Sequence[Mapping[str, float]]

# Distinguishable with colour-vision deficiency, too (Okabe and Ito 2008).
GREEN, BLUE, VERMILION, PURPLE, ORANGE, SKY = "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9"
_COLOURS = (GREEN, BLUE, VERMILION, PURPLE, ORANGE, SKY)
_MARKERS = "osD^vP"
RIGHT, WRONG = BLUE, VERMILION
_ACCURACY_STYLES: dict[str, dict[str, Any]] = {
    "clean": {"color": BLUE, "marker": "o"},
    "fgsm": {"color": ORANGE, "marker": "s"},
    "pgd": {"color": PURPLE, "marker": "D"},
    # Often the same as PGD's, so it is wide and lies beneath.
    "robust": {"color": GREEN, "linewidth": 5, "zorder": 1.5},
}
_AT_THE_END: dict[str, Any] = {"marker": "*", "markersize": 14, "markeredgecolor": "k", "linestyle": "", "zorder": 3}
"""Style of what was measured at a run's end: the lines are of what was measured while it trained."""
_HIDDEN = "_at the end"  # a label with an underscore has no entry in a legend
_FURTHER = (SKY, VERMILION)  # of accuracies without a style of their own, dashed
_COMPUTE = "compute (standard epochs)"
# Letters of a class's name, and of a line below an image in large and in small letters.
_MAX_NAME, _MAX_LARGE, _MAX_SMALL = 12, 10, 16
# The grid of examples, in inches.
_SIDE, _GAP, _BELOW_IMAGE, _PAD, _LEFT, _RIGHT, _TOP = 0.95, 0.12, 0.36, 0.1, 1.25, 0.95, 0.7


def comparison(title: str, named: Mapping[str, Rows], others: Sequence[Rows]) -> Figure:
    """Return the accuracies of the overview (clean, FGSM, robust) by compute, a panel each.

    A line is what was measured while a run trained, a star what was measured at its end.

    Args:
        title: of the figure.
        named: metrics by report of the runs to tell apart, the most important first.
        others: metrics by report of the runs drawn in grey behind them.
    """
    metrics = accuracies("overview")
    figure = _figure(4 * len(metrics), 4)
    for axes, metric in zip(figure.subplots(1, len(metrics)), metrics, strict=True):
        for rows in others:
            axes.plot(*_line(rows, "compute", WATCH + metric.name, 100), color="0.75", linewidth=1)
            _star(axes, rows, "compute", metric.name, "0.75", markersize=7)
        for place, (label, rows) in enumerate(named.items()):
            style = _style(place)
            axes.plot(*_line(rows, "compute", WATCH + metric.name, 100), label=label, **style)
            _star(axes, rows, "compute", metric.name, style["color"])
        _label_accuracy(axes, _legend_of(metric), _COMPUTE)
    _explain_stars(figure.axes[0])
    _legend(figure, figure.axes[0])
    figure.suptitle(title)
    return figure


def front(title: str, axes_names: tuple[str, str], groups: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Return a Pareto front: trials and baselines by two objectives.

    Args:
        title: of the figure.
        axes_names: the objectives along x and y.
        groups: points by what they are; the first group is the front, best in y first.
    """
    figure = _figure(6.4, 4.8)
    axes = figure.subplots()
    for place, (label, points) in enumerate(groups.items()):
        x, y = [point[0] for point in points], [point[1] for point in points]
        if place == 0:
            axes.plot(x, y, label=label, drawstyle="steps-pre", **_style(place))
        elif label == "other trials":
            axes.scatter(x, y, label=label, color="0.6", s=18)
        else:
            style = _style(place)
            axes.scatter(x, y, label=label, color=style["color"], marker=style["marker"], s=60)
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
    _grid(axes)
    _legend(figure, axes)
    figure.suptitle(title)
    return figure


def training(title: str, rows: Rows, generator_loss: str | None) -> Figure:
    """Return accuracies, losses and the ratio by cycle, or by compute if a run has no cycles (the paper's Figures 4-9).

    Args:
        title: of the figure.
        rows: a run's metrics by report.
        generator_loss: what the run's generator minimises; None if it has none, and then there is no ratio.
    """
    by = "cycle" if all("cycle" in row for row in rows) else "compute"
    along = {"cycle": "cycle", "compute": _COMPUTE}[by]
    figure = _figure(12, 4.2)
    panels = figure.subplots(1, 2 if generator_loss is None else 3, sharex=True)
    for name, legend, style in _accuracy_styles():
        panels[0].plot(*_line(rows, by, WATCH + name, 100), label=legend, markersize=4, **style)
        _star(panels[0], rows, by, name, style["color"])
    _explain_stars(panels[0])
    _label_accuracy(panels[0], "accuracy on validation images", along)
    panels[1].plot(*_line(rows, by, "classifier_loss"), label="classifier", color=BLUE, marker="o", markersize=4)
    panels[1].set(title="loss in training", xlabel=along, ylabel="mean loss since the last report")
    if generator_loss is not None:
        label = f"generator: {generator_loss.replace('_', ' ')}"
        panels[1].plot(*_line(rows, by, "generator_loss"), label=label, color=VERMILION, marker="s", markersize=4)
        panels[2].plot(*_line(rows, by, "ratio"), color=VERMILION, marker="s", markersize=4)
        panels[2].set(title="ratio", xlabel=along, ylabel="generator turns per classifier turn")
        panels[2].set_ylim(0, 1.1 * max(panels[2].dataLim.y1, 1.0))
    for axes in panels[:2]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)
    for axes in panels[1:]:
        _grid(axes)
    figure.suptitle(title)
    return figure


def by_epsilon(
    title: str, curves: Mapping[str, Mapping[float, float]], epsilon: float, num_images: int, norm: Norm = "linf"
) -> Figure:
    """Return accuracy by epsilon with 95 % intervals.

    Args:
        title: of the figure.
        curves: accuracies in [0, 1] by epsilon for each run, the most important first.
        epsilon: of the evaluation, to be marked.
        num_images: behind each accuracy.
        norm: of the attacks.
    """
    figure = _figure(8, 4.5)
    axes = figure.subplots()
    for place, (label, curve) in enumerate(curves.items()):
        style = _style(place)
        axes.plot(list(curve), [100 * accuracy for accuracy in curve.values()], label=label, **style)
        bounds = [interval(accuracy, num_images) for accuracy in curve.values()]
        low, high = [100 * below for below, _ in bounds], [100 * above for _, above in bounds]
        axes.fill_between(list(curve), low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.axvline(epsilon, color="0.4", linestyle="--", linewidth=1, label=f"epsilon of the evaluation: {epsilon:g}")
    _label_accuracy(axes, "accuracy by epsilon", f"epsilon ({NORMS[norm]}, pixels of [0, 1])")
    _legend(figure, axes)
    figure.suptitle(title)
    return figure


def examples(title: str, seen: Examples) -> Figure:
    """Return a grid with a column for each image: clean, then the perturbation and the perturbed image of each attack.

    Below each image is the predicted label with its probability: blue with a tick if it is right, red with a cross if
    it is wrong (the paper's Figures 2 and 3).
    """
    rows: list[tuple[str, ClassifiedImages, Any]] = [("clean", seen.clean, None)]
    for name, view in seen.perturbed.items():
        rows += [(f"{name}\nperturbation", view, view.images - seen.clean.images)]
        rows += [(f"{name}\nwithin {view.bound:.2g}", view, None)]
    num_columns = len(seen.labels)
    width, height = _LEFT + num_columns * (_SIDE + _GAP) + _RIGHT, _TOP
    height += sum(_SIDE + (_BELOW_IMAGE if perturbation is None else _GAP) for _, _, perturbation in rows)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    # One canvas in inches for all images: axes for each of them take more than twice as long.
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set_axis_off()
    limit = max(view.bound for view in seen.perturbed.values())
    lines = [[_prediction(seen, view, column) for column in range(num_columns)] for _, view, _ in rows]
    size = 11 if max(len(line) for row in lines for line in row) <= _MAX_LARGE else 7  # the same below all images
    top = _TOP
    for (name, view, perturbation), below in zip(rows, lines, strict=True):
        canvas.text(_LEFT - _PAD, top + _SIDE / 2, name, ha="right", va="center", fontsize=11)
        for column in range(num_columns):
            left = _LEFT + column * (_SIDE + _GAP)
            extent = (left, left + _SIDE, top + _SIDE, top)
            if perturbation is None:
                canvas.imshow(view.images[column], cmap="gray", vmin=0, vmax=1, aspect="auto", extent=extent)
                colour = RIGHT if seen.labels[column] == view.predicted[column] else WRONG
                _label_prediction(canvas, left, top, below[column], colour, size)
            else:
                one_channel = perturbation[column]
                if one_channel.ndim > 2:
                    one_channel = one_channel.mean(-1)
                drawn = canvas.imshow(one_channel, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", extent=extent)
                _frame(canvas, left, top, "k", 0.8)
        top += _SIDE + (_BELOW_IMAGE if perturbation is None else _GAP)
    canvas.set(xlim=(0, width), ylim=(height, 0))
    left, top, high = width - _RIGHT + _GAP, _TOP + _SIDE + _BELOW_IMAGE, 2 * _SIDE + _GAP
    beside = figure.add_axes((left / width, 1 - (top + high) / height, 0.14 / width, high / height))
    figure.colorbar(drawn, cax=beside, ticks=[-limit, 0, limit], format="%.2g", label="perturbation (pixels of [0, 1])")
    figure.suptitle(title, y=1 - 0.1 / height, va="top")
    return figure


def success(title: str, rates: npt.NDArray[np.float32], classes: Sequence[str] = ()) -> Figure:
    """Return a table of how often images of each class get each label under a generator.

    Args:
        title: of the figure.
        rates: true class by predicted label ``(classes, classes)``, in [0, 1].
        classes: their names; by default their numbers.
    """
    figure = _figure(8, 6.4)
    axes = figure.subplots()
    drawn = axes.imshow(100 * rates, cmap="Blues", vmin=0, vmax=100)
    labels = range(len(rates))
    for row in labels:
        for column in labels:
            percent = 100 * float(rates[row, column])
            if percent >= 0.5:
                axes.text(column, row, f"{percent:.0f}", ha="center", va="center", color="w" if percent > 50 else "k")
    names = [_cut(name) for name in classes] or [str(label) for label in labels]
    axes.set_xticks(labels, names, rotation=0 if max(map(len, names)) <= 2 else 90, parse_math=False)
    axes.set_yticks(labels, names, parse_math=False)
    axes.set(xlabel="label that the classifier gives", ylabel="true class")
    figure.colorbar(drawn, label="share of the class (%)")
    figure.suptitle(title, fontsize=10)
    return figure


def schedules(title: str, previews: Sequence[SchedulePreview]) -> Figure:
    """Return the values that scheduled settings can take over a run: a row per setting, a panel per kind of schedule.

    Args:
        title: of the figure.
        previews: range and examples of each kind, those of one setting one after the other.
    """
    rows = {preview.setting: [other for other in previews if other.setting == preview.setting] for preview in previews}
    width = max(len(kinds) for kinds in rows.values())
    figure = _figure(max(4 * width, 5), 2.6 * len(rows) + 0.7)
    panels = figure.subplots(len(rows), width, sharey="row", squeeze=False)
    for row, (setting, kinds) in zip(panels, rows.items(), strict=True):
        for axes, course in zip(row, kinds, strict=False):
            axes.fill_between(MOMENTS, course.lowest, course.highest, color=BLUE, alpha=0.15, linewidth=0)
            style = "steps-post" if course.kind == "stepped" else "default"
            for colour, example in zip((BLUE, VERMILION), course.examples, strict=False):
                axes.plot(
                    MOMENTS, [example.value(moment) for moment in MOMENTS], color=colour, linewidth=1.8, drawstyle=style
                )
            axes.set(title=course.kind, xlabel="progress (share of the run's compute)", xlim=(0, 1))
            _grid(axes)
            if course.log:
                axes.set_yscale("log")
        row[0].set_ylabel(setting.replace(".", ".\n"))
        for axes in row[len(kinds) :]:
            axes.remove()
    figure.suptitle(title)
    return figure


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _prediction(seen: Examples, view: ClassifiedImages, column: int) -> str:
    predicted = view.predicted[column]
    mark = "\N{CHECK MARK}" if seen.labels[column] == predicted else "\N{BALLOT X}"
    name = _cut(seen.classes[predicted] if seen.classes else str(predicted))
    return f"{mark} {name}  {100 * view.probabilities[column]:.0f} %"


def _label_prediction(canvas: Axes, left: float, top: float, text: str, colour: str, size: float) -> None:
    if len(text) > _MAX_SMALL:  # it would run into its neighbour
        text = text.replace("  ", "\n")
    place = (left + _SIDE / 2, top + _SIDE + _PAD / 2)
    canvas.text(*place, text, color=colour, fontsize=size, ha="center", va="top", parse_math=False)
    _frame(canvas, left, top, colour, 2)


def _frame(canvas: Axes, left: float, top: float, colour: str, width: float) -> None:
    canvas.add_patch(Rectangle((left, top), _SIDE, _SIDE, fill=False, edgecolor=colour, linewidth=width))


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _line(rows: Rows, along: str, metric: str, factor: float = 1.0) -> tuple[list[float], list[float]]:
    measured = [row for row in rows if metric in row]
    return [row[along] for row in measured], [factor * row[metric] for row in measured]


def _accuracy_styles() -> list[tuple[str, str, dict[str, Any]]]:
    """Return name, legend and style of the accuracies of a run's figure, those at its end first."""
    further = cycle(_FURTHER)
    shown = {metric.name: metric for metric in accuracies("comparison")}
    for metric in watched_accuracies("comparison"):
        shown.setdefault(metric.name.removeprefix(WATCH), metric)
    return [
        (name, _legend_of(metric), _ACCURACY_STYLES.get(name) or {"color": next(further), "linestyle": "--"})
        for name, metric in shown.items()
    ]


def _star(axes: Axes, rows: Rows, along: str, metric: str, colour: str, **style: Any) -> None:
    """Mark what was measured at a run's end, if the run has got there."""
    at, value = _line(rows, along, metric, 100)
    if at:
        axes.plot(at, value, **_AT_THE_END | {"label": _HIDDEN, "color": colour, **style})


def _explain_stars(axes: Axes) -> None:
    """Add what stars mean to the legend, if there is one."""
    if any(line.get_label() == _HIDDEN for line in axes.get_lines()):
        axes.plot([], [], **_AT_THE_END, color="w", label="at the end, by stronger attacks")


def _legend_of(metric: Metric) -> str:
    return f"{metric.label} ({metric.note})" if metric.note else metric.label


def _style(place: int) -> dict[str, Any]:
    colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.8 if place else 2.5}


def _label_accuracy(axes: Axes, title: str, along: str) -> None:
    axes.set(title=title, xlabel=along, ylabel="accuracy (%)", ylim=(-2, 102))
    _grid(axes)


def _grid(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
