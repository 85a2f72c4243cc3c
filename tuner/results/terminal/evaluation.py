"""Tables of evaluations: of one classifier by the tier ``rank`` or ``final``, and of all runs of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.console import Console

from trainables.common.tasks import NORMS
from trainables.errors import printable
from trainables.evaluation.checks import from_metrics
from trainables.evaluation.metrics import Metric, accuracies
from tuner.results.terminal.columns import Column, Row, Table, fixed, metric_column, percent
from tuner.results.terminal.comparison import spread_column, spread_values
from tuner.results.terminal.output import print_table, say
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
    measured = accuracies("all", dict.fromkeys(name for result in results.values() for name in result.metrics))
    columns = (
        Column("split", "split", "name"),
        Column("images", "images", rank=1, text=lambda values: f"{values['images']:,}"),
        *(_accuracy(metric) for metric in measured),
        Column("masking", "masking", "words", rank=2),
    )
    rows = []
    for where, result in results.items():
        shares = {metric.name: result.metrics.get(metric.name) for metric in measured}
        rows.append(
            Row({"split": where, "images": result.images, **shares, "masking": describe_masking(result.metrics)})
        )
    title = f"{printable(source)}: accuracy in percent, {describe(next(iter(results.values())))}"
    return Table(title, columns, tuple(rows))


def _accuracy(metric: Metric) -> Column:
    column = metric_column(metric, {"robust": 0, "clean": 0}.get(metric.name, 3), metric.name)
    return replace(column, text=lambda values: percent(values[metric.name], 2))


def describe(result: EvaluationResults) -> str:
    """Return what a classifier was evaluated on and by: dataset, epsilon, tier and seed."""
    norm = "" if result.norm == "linf" else f"{NORMS[result.norm]}, "
    seed = "" if result.seed is None else f", seed {result.seed}"
    return f"{result.dataset}, {norm}epsilon {result.epsilon:.4g}, tier {result.tier}{seed}"


def describe_masking(metrics: dict[str, float]) -> str:
    """Return ``pass``, or ``fail:`` and the checks that failed; empty if no gradient-masking check was made."""
    checks = from_metrics(metrics)
    failed = ", ".join(name for name, passes in checks.items() if not passes)
    return f"fail: {failed}" if failed else "pass" if checks else ""


def print_evaluation(source: str, results: EvaluationResults, console: Console) -> None:
    """Print the results of the tier ``final``: every attack, the accuracies with their intervals, masking checks."""
    columns = (
        Column("attack", "attack", "name"),
        Column("alone", "alone %", text=lambda values: _share(values["alone"])),
        Column("standing", "standing %", text=lambda values: _share(values["standing"])),
        Column("seconds", "seconds", rank=1, text=fixed("seconds")),
    )
    attacks = [
        Row({"attack": each.name, "alone": each.alone, "standing": each.standing, "seconds": each.seconds})
        for each in results.attacks
    ]
    clean = Row({"attack": "none", "alone": None, "standing": results.metrics["clean"], "seconds": None})
    title = f"{printable(source)}: {results.images:,} {results.split} images of {describe(results)}"
    print_table(Table(title, columns, (clean, *attacks)), console)
    for name in ("clean", "robust"):
        accuracy = results.metrics[name]
        low, high = interval(accuracy, results.images)
        say(console, f"{name}: {100 * accuracy:.2f} % (95 %: {100 * low:.1f}-{100 * high:.1f})")
    if results.autoattack is not None:
        say(
            console,
            f"AutoAttack standard: {100 * results.autoattack.accuracy:.2f} %, {results.autoattack.seconds:.0f} s; "
            f"all of the above {sum(attack.seconds for attack in results.attacks):.0f} s",
        )
    curve = "  ".join(f"{epsilon:g}: {100 * accuracy:.1f}" for epsilon, accuracy in results.accuracy_by_epsilon)
    say(console, f"PGD by epsilon: {curve}")
    say(console, f"masking: {describe_masking(results.metrics)}")


def _share(value: object) -> str:
    return "" if value is None else percent(value, 2)


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
    measured = accuracies("comparison")
    columns = (
        Column("configuration", "configuration", "name"),
        Column("runs", "runs", rank=5),
        *(spread_column(metric, _HEADINGS.get(metric.name, metric.label)) for metric in measured),
        Column("masking", "masking", "words", rank=2),
    )
    rows = []
    for group, results in evaluated:
        metrics = [result.metrics for result in results]
        run = group.first.run
        values: dict[str, object] = {"configuration": run.name if run.kind == "baseline" else run.label}
        values["runs"] = len(results)
        for metric in measured:
            values |= spread_values(metric.name, [each[metric.name] for each in metrics if metric.name in each])
        rows.append(Row({**values, "masking": _describe_masking_of_runs(metrics)}))
    title = (
        f"{snapshot.name}: {shown} test images of {snapshot.space.dataset.name}, epsilon {epsilon:g}, "
        "tier final, mean over seeds (lowest to highest)"
    )
    return Table(title, columns, tuple(rows))


def _results(snapshot: Snapshot, group: Repeats) -> list[EvaluationResults]:
    keys = [record.run.key for record in group.records]
    return [snapshot.evaluations[key] for key in keys if key in snapshot.evaluations]


def _describe_masking_of_runs(metrics: Sequence[dict[str, float]]) -> str:
    """Return ``pass`` if all runs pass all checks, else how many runs failed each of the others."""
    failed = Counter(name for each in metrics for name, passes in from_metrics(each).items() if not passes)
    if not failed:
        return "pass"
    return "fail: " + ", ".join(f"{name} {count}/{len(metrics)}" for name, count in failed.most_common())
