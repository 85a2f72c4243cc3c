"""Writes the tables of `tuned.md`, and the runs as Parquet, from the sweep `gan16`.

Run it after `make results-tuned`, or while its sweep is under way: `python docs/results/make_tuned.py [HOME]`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from page_tables import percent, with_lines

from tuner import Sweep
from tuner.results.terminal.confirmation import confirmation_sentences, p_value_text, points_text
from tuner.sweep.confirmation import read_confirmation
from tuner.sweep.folder import SweepFolder

if TYPE_CHECKING:
    import pandas as pd

    from tuner.sweep.confirmation import Confirmation, Lead, MeanOverSeeds

FOLDER = Path(__file__).parent
PAGE = FOLDER / "tuned.md"
NAME = "gan16"
_ACCURACIES = {"robust": "robust", "clean": "clean", "FGSM": "fgsm", "PGD-40": "pgd"}
_CHOICES = ("random_start", "image_gradient", "see_label", "see_perturbation", "optimizer", "noise", "body", "loss")
_SHOWN = 5
"""How many of the best trials are in the table beside those that the space lists."""


def main(home: str = "sweeps") -> None:
    """Write what the sweep has so far."""
    sweep = Sweep.open(NAME, home=home)
    trials = sweep.trials()
    listed = len(SweepFolder.open(NAME, home=Path(home)).space.first)
    trials.to_parquet(FOLDER / f"{NAME}.parquet", index=False)
    text = PAGE.read_text(encoding="utf-8")
    text = with_lines(text, "found", found(trials, listed))
    text = with_lines(text, "values", values(trials))
    text = with_lines(text, "rungs", rungs(home))
    confirmation = read_confirmation(SweepFolder.open(NAME, home=Path(home)))
    if confirmation is not None:
        text = with_lines(text, "confirmed", confirmed(confirmation))
    PAGE.write_text(text, encoding="utf-8")


def found(trials: pd.DataFrame, listed: int) -> Iterator[str]:
    """Yield the lines of a table of the best trials, the listed ones and the baselines, with 95 % intervals."""
    runs = trials.assign(origin=trials.apply(lambda run: _origin(run, listed), axis=1))
    complete = runs[runs["state"] == "complete"].sort_values(["robust", "clean"], ascending=False)
    best = complete[complete["kind"] == "trial"].head(_SHOWN)
    others = complete[complete["origin"] != "drawn"]
    rows = complete[complete["run"].isin({*best["run"], *others["run"]})]
    heads = ["run", "schedule", "origin", *_ACCURACIES]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for _, run in rows.iterrows():
        images = int(run["settings.evaluation.rank_images"])
        shares = [percent(run[name], images) for name in _ACCURACIES.values()]
        schedule = run["schedule"] if isinstance(run["schedule"], str) else ""
        yield f"| {' | '.join([run['run'], schedule, run['origin'], *shares])} |"
    pruned = runs[(runs["kind"] == "trial") & (runs["state"] == "pruned")]
    yield ""
    yield (
        f"{(runs['kind'] == 'trial').sum()} trials: {len(complete[complete['kind'] == 'trial'])} to their end, "
        f"{len(pruned)} stopped by the pruner, {_listed_pruned(pruned, listed)} of the {listed} listed ones among them."
    )


def _origin(run: pd.Series, listed: int) -> str:
    if run["kind"] != "trial":
        return "baseline"
    return "listed" if run["number"] < listed else "drawn"


def _listed_pruned(pruned: pd.DataFrame, listed: int) -> int:
    return int((pruned["number"] < listed).sum())


def values(trials: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a table: of each value of a choice, how many trials had it, and the best that they reached."""
    ended = trials[(trials["kind"] == "trial") & trials["state"].isin(["complete", "pruned"])]
    reached = ended["robust"].fillna(ended["watch/robust"])
    yield "| setting of the generator | value: trials, best robust accuracy |"
    yield "|---|---|"
    for name in _CHOICES:
        groups = reached.groupby(ended[f"settings.generator.{name}"].astype(str))
        cells = (f"{value}: {len(group)}, {100 * group.max():.1f}" for value, group in groups)
        yield f"| `{name}` | {'; '.join(cells)} |"


def confirmed(confirmation: Confirmation) -> Iterator[str]:
    """Yield the lines of a table of what `tuner confirm` has measured on test images, and its sentences."""
    leads = {lead.against: lead for lead in confirmation.differences}
    heads = ["configuration", "seeds", *_ACCURACIES, "the winner's lead"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for found in sorted(confirmation.configurations, key=lambda found: -found.test["robust"].mean):
        shares = [_mean(found.test[name]) for name in _ACCURACIES.values()]
        lead = _lead(leads[found.display_name]) if found.display_name in leads else ""
        yield f"| {' | '.join([found.display_name, str(len(found.runs)), *shares, lead])} |"
    yield ""
    yield f"{confirmation.images:,} test images. In the command's words:"
    yield ""
    yield from (f"> {sentence.strip()}" for sentence in confirmation_sentences(confirmation))


def _mean(found: MeanOverSeeds) -> str:
    bounds = None if found.low is None or found.high is None else (found.low, found.high)
    return f"{100 * found.mean:.1f} ({points_text(bounds, signed=False)})"


def _lead(lead: Lead) -> str:
    p_value = p_value_text(lead.p_corrected, sign=True)
    return f"{100 * lead.mean:+.1f} ({points_text(lead.interval)}), p {p_value}"


def rungs(home: str) -> Iterator[str]:
    """Yield the lines of a table of how well the reports of each step rank the trials as their ends do."""
    command = [sys.executable, "-m", "tuner", "replay", NAME, "--home", home, "--format", "json"]
    steps = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["curves"]["steps"]
    yield "| compute | trials | rank correlation with the end | among the best quarter |"
    yield "|---|---|---|---|"
    for step in steps:
        judged = [_correlation(step[name]) for name in ("correlation", "among_best")]
        yield f"| {' | '.join([format(step['compute'], '.0f'), str(step['trials']), *judged])} |"


def _correlation(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main(*sys.argv[1:])
