"""Pictures of a sweep, from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuner.ledger import read_records
from tuner.records import Record, best, read_metrics
from tuner.sweep import Sweep

_PANELS = {"clean": "clean_accuracy", "FGSM": "fgsm_accuracy", "robust (worst of all attacks)": "robust_accuracy"}


def draw(sweep: Sweep, target: Path) -> Path | None:
    """Draw accuracy by compute of the best trial and the baselines, all other trials in grey; None if there is nothing.

    Args:
        sweep: whose runs are drawn.
        target: the PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read_records(sweep)
    if not any(record.metrics for record in records):
        return None
    winner = best(records, sweep.space.objective.mode)
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (title, metric) in enumerate(_PANELS.items(), start=1):
        axes = figure.add_subplot(1, len(_PANELS), place)
        for record in sorted(records, key=lambda record: (record is winner, record.run.kind == "baseline")):
            rows = read_metrics(record.run.folder)
            accuracies = [100 * row[metric] for row in rows]
            axes.plot([row["compute"] for row in rows], accuracies, **_style(record, winner))
        axes.set(title=title, xlabel="compute (standard epochs)", ylabel="accuracy (%)", ylim=(-2, 102))
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    epsilon = sweep.space.evaluation.epsilon
    figure.suptitle(f"{sweep.name}: {sweep.space.dataset.name} validation images, epsilon {epsilon:g}")
    figure.savefig(target, dpi=110)
    return target


def _style(record: Record, winner: Record | None) -> dict[str, Any]:
    if record is winner:
        return {"label": f"best trial: {record.run.label}", "color": "tab:green", "linewidth": 2.5, "marker": "."}
    if record.run.kind == "baseline":
        return {"label": record.run.key.removeprefix("baseline-"), "linewidth": 1.8, "marker": "."}
    return {"color": "0.75", "linewidth": 1}
