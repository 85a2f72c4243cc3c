"""How runs and sweeps are called and described in MLflow: names, tags, and the parameters and metrics of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from search_spaces.schema import Space
from search_spaces.sections import Objective
from tuner.results.compare import comparison_sentences
from tuner.results.terminal.confirmation import confirmation_sentences
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Run, describe_setting
from tuner.sweep.snapshot import Snapshot
from tuner.sweep.state import compute_spent
from tuner.sweep.status import summarize, summary_line

ENDED = ("complete", "pruned", "failed")
_GROUP = "sweep/"
_IN_LABELS = ("ratio", "generator.goal", "generator.target", "generator.source")
"""What `Run.label` says of a run."""
_MOST_IN_A_NAME = 2  # settings
_NAME_LENGTH, _NOTE_LENGTH = 100, 6000


def run_name(space: Space, run: Run) -> str:
    """Return what a run is called: ``trial-0007 gan 2:1``, ``trial-0003 pgd epsilon=0.27``, ``standard``, a baseline.

    A baseline that is called as its recipe has no other words. Where trials do not differ in what a label says (recipe,
    ratio, goal), the first settings that vary are added.

    Args:
        space: that the run is of.
        run: the run.
    """
    if run.kind == "baseline":
        label = "" if run.name.split(".")[0] == run.label else f" {run.label}"
        return f"{run.name}{label}"[:_NAME_LENGTH]
    words = [run.name, run.label, *_varied(space, run.settings)]
    if space.seeds > 1 and run.kind == "trial":
        words.append(f"seed={run.settings['seed']}")
    return " ".join(words)[:_NAME_LENGTH]


def _varied(space: Space, settings: Mapping[str, Any]) -> list[str]:
    """Return what identifies a trial beside its label, as ``name=value``; nothing if the label does."""
    paths: dict[tuple[str, ...], None] = {}
    for parameter in space.parameters:
        if parameter.varies:
            paths[parameter.setting] = None
    if any(".".join(path).startswith(_IN_LABELS) for path in paths):
        return []
    values = {path: _value_at(settings, path) for path in paths}
    present = [(path, value) for path, value in values.items() if value is not None][:_MOST_IN_A_NAME]
    last_words = Counter(path[-1] for path, _ in present)
    return [f"{path[-1] if last_words[path[-1]] == 1 else '.'.join(path)}={value}" for path, value in present]


def _value_at(settings: Mapping[str, Any], path: tuple[str, ...]) -> str | None:
    """Return a setting in a few characters; None if a run has none there, or a group of settings."""
    value: Any = settings
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None or (isinstance(value, Mapping) and "values" not in value):
        return None
    return f"{value:.3g}" if isinstance(value, float) else describe_setting(value)


def sweep_parameters(sweep: SweepFolder) -> dict[str, str]:
    """Return what a sweep was launched with, by name, for the list of parameters of its run in MLflow."""
    space = sweep.space
    pruner = next((name for name, settings in space.search.pruner if settings is not None), "none")
    budget = {**space.budget.model_dump(exclude_none=True), "trials": sweep.num_trials}
    parameters: dict[str, object] = {
        "space": space.name,
        "trainable": space.trainable,
        "dataset": space.dataset.name,
        "epsilon": space.evaluation.epsilon,
        "objective": ", ".join(map(_objective, space.objectives)),
        "sampler": str(space.search.sampler),
        "pruner": pruner,
        "seed": space.search.seed,
        "seeds": sweep.num_seeds,
        "baselines": ", ".join(baseline.name for baseline in space.baselines) or "none",
        **{f"budget.{name}": value for name, value in budget.items()},
    }
    return {name: str(value)[:_NOTE_LENGTH] for name, value in parameters.items()}


def _objective(objective: Objective) -> str:
    return f"{objective.mode} {objective.metric}"


def sweep_metrics(snapshot: Snapshot) -> dict[str, float]:
    """Return how far a sweep has come, by name, for the metrics of its run in MLflow.

    These are the best value of the first objective, the number of trials on the front, how many trials it asks for and
    how many of them ended in which way, and the compute of all trials in epochs of standard training.
    """
    states: Counter[str] = Counter(record.state for record in snapshot.records if record.run.kind == "trial")
    metrics: dict[str, float] = {
        "trials": snapshot.sweep.num_trials,
        **{state: states[state] for state in ENDED},
        "front": len(snapshot.best_trials),
        "compute": compute_spent(snapshot.records),
    }
    if snapshot.best is not None and snapshot.best.value is not None:
        metrics["best"] = snapshot.best.value
    return {_GROUP + name: float(value) for name, value in metrics.items()}


def num_ended(metrics: Mapping[str, float]) -> int:
    """Return how many trials have ended, by the metrics of a sweep's run."""
    return int(sum(metrics.get(_GROUP + state, 0.0) for state in ENDED))


def sweep_note(snapshot: Snapshot, table: str, configurations: str) -> str:
    """Return the description of a sweep's run as Markdown: what is confirmed, how far it has come, what is compared.

    MLflow shows the first lines until somebody asks for more, so what the space says of itself comes last.

    Args:
        snapshot: of the sweep.
        table: link of the table of its runs.
        configurations: link of the table of the configurations that were trained again with fresh seeds.
    """
    summary = f"**{summary_line(summarize(snapshot))}**"
    lines, links = [], [f"[The table of its runs]({table})"]
    if snapshot.confirmation is not None:
        lines += [f"- {sentence.strip()}" for sentence in confirmation_sentences(snapshot.confirmation)]
        lines += ["", f"{summary}. The search itself:", ""]
        links += [f"[The configurations that were trained again with fresh seeds]({configurations})"]
    lines += [f"- {sentence.strip()}" for sentence in comparison_sentences(snapshot)]
    while len("\n".join(lines)) > _NOTE_LENGTH:
        lines = [*lines[:-2], f"- and more: `tuner compare {snapshot.name}`"]
    head = [] if snapshot.confirmation is not None else [summary, ""]
    return "\n".join([*head, *lines, "", " · ".join(links), "", snapshot.space.description[:1000]]).strip()
