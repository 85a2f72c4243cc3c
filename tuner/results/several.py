"""Compares several sweeps: whether their numbers can be compared at all, and which of their best trials leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainables.evaluation.metrics import metric_named
from tuner.errors import UserError
from tuner.results.seeds import pooled
from tuner.statistics import is_within_noise
from tuner.sweep.runs import num_images
from tuner.sweep.snapshot import Snapshot


def check_comparable(snapshots: Sequence[Snapshot]) -> None:
    """Check that the accuracies of sweeps were measured on the same images, with the same epsilon.

    Raises:
        UserError: they were not; the message says what differs.
    """
    _check(snapshots, "datasets", lambda one: one.space.dataset.name)
    _check(snapshots, "validation images", lambda one: f"{one.space.dataset.validation:,}")
    _check(snapshots, "epsilons", lambda one: f"{one.space.evaluation.epsilon:g}")
    _check(snapshots, "numbers of images that complete runs are measured on", lambda one: f"{_images(one):,}")


def several_sentences(snapshots: Sequence[Snapshot]) -> list[str]:
    """Return the lead of the best trial of all sweeps over the best ones of the others, and what limits its meaning."""
    objective = snapshots[0].space.objective
    metric = objective.metric
    leaders = [(one, one.best) for one in snapshots]
    lines = [f"{one.name} has no best trial yet." for one, best in leaders if best is None]
    with_value = [(one, best, best.metrics[metric]) for one, best in leaders if best and metric in best.metrics]
    with_value.sort(key=lambda each: -objective.sign * each[2])
    if len(with_value) < 2:
        return lines
    (first, winner, value), *others = with_value
    scale = 100 if metric_named(metric).is_share else 1
    name = ("points of " if scale == 100 else "of ") + metric_named(metric).words
    for other, best, behind in others:
        text = f"Best of {first.name}: {winner.run.key} ({winner.run.label}) against {other.name}'s {best.run.key} "
        text += f"({best.run.label}): {scale * (value - behind):+.1f} {name}"
        ends = sorted((value, behind), reverse=True)
        is_tie = scale == 100 and is_within_noise(ends[0], ends[1], _images(first))
        lines.append(f"{text}, which is within the noise of {_images(first):,} validation images" if is_tie else text)
    return [*lines, *_cautions(snapshots)]


def _cautions(snapshots: Sequence[Snapshot]) -> list[str]:
    cautions = []
    for what, read in _MAY_DIFFER.items():
        values = {one.name: read(one) for one in snapshots}
        if len(set(values.values())) > 1:
            told = ", ".join(f"{name} {value}" for name, value in values.items())
            cautions.append(f"Mind that they differ in {what}: {told}.")
    if any(len(pooled(one, one.best)) == 1 for one in snapshots if one.best):
        cautions.append("Chosen and measured on the same validation images: leads to follow up, not claims.")
    return cautions


_MAY_DIFFER: dict[str, Callable[[Snapshot], str]] = {
    "compute per run": lambda one: f"{one.space.budget.compute:g}",
    "objective": lambda one: metric_named(one.space.objective.metric).words,
}


def _check(snapshots: Sequence[Snapshot], what: str, read: Callable[[Snapshot], str]) -> None:
    values = {one.name: read(one) for one in snapshots}
    if len(set(values.values())) > 1:
        told = ", ".join(f"{name} {value}" for name, value in values.items())
        raise UserError(
            f"these sweeps cannot be compared: their {what} differ ({told}). Compare each with its own baselines, "
            f"or launch both with the same, as in `tuner launch SPACE --set evaluation.epsilon=0.3`"
        )


def _images(snapshot: Snapshot) -> int:
    space = snapshot.space
    settings = {"evaluation": space.evaluation.model_dump(), "dataset": space.dataset.model_dump()}
    return num_images(settings, ranked=True)
