"""Writes the table and the figure of `paper.md`, and its curves as Parquet, from the sweep `paper_readings`.

Run it after `make results-paper`, or while its sweep is under way: `python docs/results/make_paper.py [HOME]`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from page_tables import percent, with_lines

from tuner import Sweep

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).parent
PAGE = FOLDER / "paper.md"
NAME = "paper_readings"
_ACCURACIES = {
    "clean": "watch/clean",
    "FGSM 0.1": "watch/fgsm_at_0.1",
    "0.2": "watch/fgsm_at_0.2",
    "0.25": "watch/fgsm_at_0.25",
    "0.3": "watch/fgsm",
    "PGD-10 0.3": "watch/pgd",
}
_CYCLES = (1, 2, 4, 8, 16, 32, 60)
"""A row of the tables is a run's first report after so many cycles, or its last one."""


def main(home: str = "sweeps") -> None:
    """Write what the sweep has so far."""
    sweep = Sweep.open(NAME, home=home)
    trials, curves = sweep.trials(), sweep.curves()
    named = curves.merge(labels(trials).rename("label"), left_on="run", right_index=True)
    named.to_parquet(FOLDER / f"{NAME}.parquet", index=False)
    draw(trials, curves)
    page = with_lines(PAGE.read_text(encoding="utf-8"), "table", table(trials, curves))
    PAGE.write_text(page, encoding="utf-8")


def labels(trials: pd.DataFrame) -> pd.Series:
    """Return what a run is called, by its key: what differs between the trials, or the name of the baseline."""
    settings = [name for name in trials.columns if name.startswith("settings.")]
    varied = [name for name in settings if trials[name].astype(str).nunique() > 1]
    return trials.set_index("run").apply(lambda row: _label(row, varied), axis=1)


def _label(row: pd.Series, varied: Sequence[str]) -> str:
    if row["kind"] != "trial":
        return str(row.name)
    settings = {name.rpartition(".")[2]: row[name] for name in varied if name.startswith("settings.generator.")}
    told = {
        "perturbation_bound": "bound {}",
        "perturbation_sign": "sign {}",
        "pool": "images of all cycles" if settings.get("pool") else "images of the last cycle",
    }
    return (
        ", ".join(words.format(settings[name]) for name, words in told.items() if name in settings) or row["schedule"]
    )


def table(trials: pd.DataFrame, curves: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a table: accuracies in percent with 95 % intervals after some of the cycles of each run."""
    heads = ["run", "cycles", "compute", "generator loss", *_ACCURACIES]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    images = trials.set_index("run")["settings.evaluation.watch_images"]
    for run, label in labels(trials).items():
        reports = curves[curves["run"] == run]
        for number, (_, report) in enumerate(reports.iloc[_places(reports)].iterrows()):
            numbers = [
                _number(report, "cycle", "{:.0f}"),
                f"{report['compute']:.0f}",
                _number(report, "generator_loss"),
            ]
            shown = [percent(report[metric], int(images[run])) for metric in _ACCURACIES.values()]
            yield f"| {' | '.join([label if number == 0 else '', *numbers, *shown])} |"


def _places(reports: pd.DataFrame) -> list[int]:
    last = len(reports) - 1
    if "cycle" not in reports or reports["cycle"].isna().all():
        return [last] if last >= 0 else []
    reached = [int((reports["cycle"] < number).sum()) for number in _CYCLES]
    return sorted({place for place in reached if place < last} | {last})


def _number(report: pd.Series, name: str, form: str = "{:.2f}") -> str:
    value = report.get(name)
    return "" if value is None or math.isnan(value) else form.format(value)


def draw(trials: pd.DataFrame, curves: pd.DataFrame) -> None:
    """Draw the loss of the generator and the accuracy under FGSM by cycle (the paper's Figures 4 to 9) of every run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    shown = {"generator_loss": "generator loss", "watch/fgsm_at_0.1": "FGSM 0.1 (%)", "watch/fgsm": "FGSM 0.3 (%)"}
    for run, label in labels(trials).items():
        reports = curves[curves["run"] == run]
        for panel, metric in zip(panels, shown, strict=True):
            factor = 1 if metric == "generator_loss" else 100
            if metric in reports:
                panel.plot(reports["cycle"], factor * reports[metric], marker="o", markersize=3, label=label)
    for panel, title in zip(panels, shown.values(), strict=True):
        panel.set(title=title, xlabel="cycle", ylim=(0, 1 if title == "generator loss" else 100))
        panel.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(FOLDER / f"{NAME}.png", dpi=80)


if __name__ == "__main__":
    main(*sys.argv[1:])
