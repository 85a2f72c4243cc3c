"""Compares the trials of a sweep with its baselines: their order, and sentences."""

from __future__ import annotations

from itertools import takewhile
from statistics import mean

from search_spaces.schema import Space
from trainables.evaluation.metrics import metric_named
from tuner.results.seeds import lead_sentences, pooled
from tuner.statistics import is_within_noise
from tuner.sweep.ranking import clean_accuracy, eligible, explain_no_best
from tuner.sweep.runs import Record, num_images
from tuner.sweep.snapshot import Snapshot
from tuner.sweep.state import convergence_sentence


def rank_runs(snapshot: Snapshot) -> list[Record]:
    """Return the runs of the search: complete and feasible ones first, then the other complete ones, then the rest.

    Complete runs are sorted by the objective. The others have not measured it: they are sorted by what trials are
    compared by while they train. Runs that are equal in that are sorted by their clean accuracy.
    """
    return sorted(snapshot.records, key=lambda record: sort_key_of_runs(record, snapshot.space))


def sort_key_of_runs(record: Record, space: Space) -> tuple[bool, bool, float, float]:
    """Return the key by which `rank_runs` sorts the runs of a space."""
    is_complete = record.state == "complete"
    measured = space.objective if is_complete else space.prune_on
    value = record.metrics.get(measured.metric, -measured.sign * float("inf"))
    return not is_complete, not record.feasible, -measured.sign * value, -clean_accuracy(record.metrics)


def comparison_sentences(snapshot: Snapshot) -> list[str]:
    """Return the best trial's lead over each baseline in sentences, with what limits their meaning."""
    records, space, winner = snapshot.records, snapshot.space, snapshot.best
    metric = space.objective.metric
    if winner is None:
        return [explain_no_best(records)]
    if len(space.objectives) > 1:
        return _front_sentences(snapshot)
    if snapshot.sweep.num_seeds > 1:
        caution = (
            "Compared in pairs of equal seeds, chosen and measured on the same validation images: a lead, no claim."
        )
        return [*lead_sentences(snapshot), caution]
    converged = [_sentence(convergence_sentence(space, records))] if space.budget.until else []
    values = pooled(snapshot, winner)
    seeds = f", mean of {len(values)} seeds," if len(values) > 1 else ""
    lines = [
        f"Best: {winner.run.key} ({winner.run.label}){seeds} against {record.run.name}: "
        f"{100 * (mean(values) - record.metrics[metric]):+.1f} points of {metric_named(metric).words}"
        for record in records
        if record.run.kind == "baseline" and record.state == "complete"
    ]
    if not lines:
        value = f"{100 * mean(values):.1f} % {metric_named(metric).words}"
        lines = [f"Best: {winner.run.key} ({winner.run.label}){seeds} with {value}, and no baseline to compare it with"]
    return [
        *lines,
        *_noise_sentences(snapshot),
        *converged,
        f"{'Few seeds' if seeds else 'One seed each'}, chosen and measured on the same validation images: "
        "a lead to follow up, not a claim.",
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _noise_sentences(snapshot: Snapshot) -> list[str]:
    """Return how many of the best trials differ by no more than the choice of images can explain, if several do."""
    objective = snapshot.space.objective
    if not metric_named(objective.metric).is_share:
        return []
    ordered = sorted(
        eligible(snapshot.records),
        key=lambda record: (-objective.sign * (record.value or 0.0), -clean_accuracy(record.metrics)),
    )
    first, images = ordered[0], num_images(ordered[0].run.settings, ranked=True)

    def is_tied(other: Record) -> bool:
        values = sorted((first.value or 0.0, other.value or 0.0), reverse=True)
        return is_within_noise(values[0], values[1], images)

    tied = list(takewhile(is_tied, ordered))
    if len(tied) < 2:
        return []
    return [
        f"The top {len(tied)} are not distinguishable: the lead of {first.run.key} is within the noise of {images:,} "
        f"validation images. `tuner confirm {snapshot.name}` runs the best again, with fresh seeds."
    ]


def _front_sentences(snapshot: Snapshot) -> list[str]:
    """Return the trials on the Pareto front with their objectives, and what limits their meaning."""
    objectives, nondominated = snapshot.space.objectives, snapshot.best_trials
    names = " against ".join(metric_named(objective.metric).words for objective in objectives)
    whole = sum(record.run.kind == "trial" and record.state == "complete" for record in snapshot.records)
    return [
        f"Front of {names}: {len(nondominated)} of {whole} trials that ran to the end",
        *(
            f"  {record.run.key} ({record.run.label}): "
            + ", ".join(_objective(objective.metric, record.metrics[objective.metric]) for objective in objectives)
            for record in nondominated
        ),
        "One seed each, chosen and measured on the same validation images: leads to follow up, not claims.",
    ]


def _objective(metric: str, value: float) -> str:
    measured = metric_named(metric)
    return f"{measured.words} {100 * value if measured.is_share else value:.1f}"
