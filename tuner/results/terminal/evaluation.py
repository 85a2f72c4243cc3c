"""Tables of evaluations: of one classifier by the tier ``rank`` or ``final``, and of all runs of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean

from rich.console import Console
from rich.table import Table

from trainables.errors import printable
from trainables.evaluation.checks import from_metrics
from trainables.evaluation.metrics import accuracies
from tuner.search.repeats import Repeats, group_repeats
from tuner.statistics import interval
from tuner.sweep.evaluations import EvaluationResults
from tuner.sweep.snapshot import Snapshot

_HEADINGS = {"pgd": "PGD-40", "robust": "worst case"}  # what their labels mean in the tier `final`


def rank_evaluation_table(source: str, results: Mapping[str, EvaluationResults]) -> Table:
    """Return a row of accuracies for each entry of the results.

    Args:
        source: of the classifier, for the title.
        results: of the tier ``rank`` by the name of the images that they were measured on; not empty.
    """
    table = Table(title=f"{printable(source)}: accuracy in percent, {describe(next(iter(results.values())))}")
    table.add_column("split")
    table.add_column("images", justify="right")
    names = [metric.name for metric in accuracies("all")]
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("masking")
    for where, result in results.items():
        metrics = result.metrics
        cells = [f"{100 * metrics[name]:.2f}" if name in metrics else "-" for name in names]
        table.add_row(where, f"{result.images:,}", *cells, describe_masking(metrics))
    return table


def describe(result: EvaluationResults) -> str:
    """Return what a classifier was evaluated on and by: dataset, epsilon, tier and seed."""
    seed = "" if result.seed is None else f", seed {result.seed}"
    return f"{result.dataset}, epsilon {result.epsilon:.4g}, tier {result.tier}{seed}"


def describe_masking(metrics: dict[str, float]) -> str:
    """Return ``pass``, or ``fail:`` and the checks that failed; empty if no gradient-masking check was made."""
    checks = from_metrics(metrics)
    failed = ", ".join(name for name, passes in checks.items() if not passes)
    return f"fail: {failed}" if failed else "pass" if checks else ""


def print_evaluation(source: str, results: EvaluationResults, console: Console) -> None:
    """Print the results of the tier ``final``: every attack, the accuracies with their intervals, masking checks."""
    table = Table(title=f"{printable(source)}: {results.images:,} {results.split} images of {describe(results)}")
    for column in ("attack", "alone %", "standing %", "seconds"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    table.add_row("none", "", f"{100 * results.metrics['clean']:.2f}", "")
    for attack in results.attacks:
        alone = "" if attack.alone is None else f"{100 * attack.alone:.2f}"
        table.add_row(attack.name, alone, f"{100 * attack.standing:.2f}", f"{attack.seconds:.1f}")
    console.print(table)
    for name in ("clean", "robust"):
        accuracy = results.metrics[name]
        low, high = interval(accuracy, results.images)
        console.print(f"{name}: {100 * accuracy:.2f} % (95 %: {100 * low:.1f}-{100 * high:.1f})", highlight=False)
    if results.autoattack is not None:
        console.print(
            f"AutoAttack standard: {100 * results.autoattack.accuracy:.2f} %, {results.autoattack.seconds:.0f} s; "
            f"all of the above {sum(attack.seconds for attack in results.attacks):.0f} s",
            highlight=False,
        )
    curve = "  ".join(f"{epsilon:g}: {100 * accuracy:.1f}" for epsilon, accuracy in results.accuracy_by_epsilon)
    console.print(f"PGD by epsilon: {curve}", highlight=False, soft_wrap=True)
    console.print(f"masking: {describe_masking(results.metrics)}", highlight=False, soft_wrap=True)


def sweep_evaluations_table(snapshot: Snapshot) -> Table:
    """Return a row for every evaluated configuration of a sweep: means over seeds, lowest to highest, in percent.

    Args:
        snapshot: with evaluations.
    """
    evaluated = [
        (group, results)
        for group in group_repeats(snapshot.space, snapshot.records)
        if (results := _results(snapshot, group))
    ]
    images = {result.images for _, results in evaluated for result in results}
    shown = " or ".join(f"{count:,}" for count in sorted(images))
    epsilon = snapshot.space.evaluation.epsilon
    table = Table(
        title=f"{snapshot.name}: {shown} test images of {snapshot.space.dataset.name}, epsilon {epsilon:g}, "
        "tier final, mean over seeds (lowest to highest)"
    )
    measured = accuracies("comparison")
    headings = [_HEADINGS.get(metric.name, metric.label) for metric in measured]
    for column in ("configuration", "runs", *headings, "masking"):
        table.add_column(column, justify="left" if column in ("configuration", "masking") else "right")
    for group, results in evaluated:
        metrics = [result.metrics for result in results]
        cells = [_spread([each[metric.name] for each in metrics if metric.name in each]) for metric in measured]
        run = group.first.run
        name = run.name if run.kind == "baseline" else run.label
        table.add_row(name, str(len(results)), *cells, _describe_masking_of_runs(metrics))
    return table


def _results(snapshot: Snapshot, group: Repeats) -> list[EvaluationResults]:
    keys = [record.run.key for record in group.records]
    return [snapshot.evaluations[key] for key in keys if key in snapshot.evaluations]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    text = f"{100 * mean(values):.1f}"
    return text if len(values) == 1 else f"{text} ({100 * min(values):.1f}-{100 * max(values):.1f})"


def _describe_masking_of_runs(metrics: Sequence[dict[str, float]]) -> str:
    """Return ``pass`` if all runs pass all checks, else how many runs failed each of the others."""
    failed = Counter(name for each in metrics for name, passes in from_metrics(each).items() if not passes)
    if not failed:
        return "pass"
    return "fail: " + ", ".join(f"{name} {count}/{len(metrics)}" for name, count in failed.most_common())
