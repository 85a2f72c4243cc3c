"""What was found of classifiers, for a terminal: accuracies, the strongest attacks one by one, a sweep's verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from search_spaces.checks.metrics import METRICS
from tuner.statistics import interval
from tuner.sweep.folder import SweepFolder
from tuner.sweep.repeats import Repeats, repeats
from tuner.sweep.runs import masking_checks, read_evaluation

_OF_SWEEP = {
    "clean": "clean_accuracy",
    "FGSM": "fgsm_accuracy",
    "PGD-40": "pgd_accuracy",
    "worst case": "robust_accuracy",
}


def rank_table(source: str, results: Mapping[str, dict[str, float]]) -> Table:
    """Return the accuracies of the tier ``rank`` by where they were measured."""
    table = Table(title=f"{source}: accuracy in percent")
    table.add_column("images")
    for name in METRICS:
        table.add_column(name.removesuffix("_accuracy"), justify="right")
    table.add_column("masking")
    for where, metrics in results.items():
        table.add_row(where, *(f"{100 * metrics[name]:.2f}" for name in METRICS), masking(metrics))
    return table


def masking(metrics: dict[str, float]) -> str:
    """Return ``pass``, or which checks failed; nothing where none was made."""
    checks = masking_checks(metrics)
    failed = ", ".join(name for name, passes in checks.items() if not passes)
    return f"fail: {failed}" if failed else "pass" if checks else ""


def print_final(source: str, result: Mapping[str, Any], console: Console) -> None:
    """Print one verdict of the strongest attacks: attack by attack, then what it comes to."""
    what = f"{result['images']:,} {result['split']} images of {result['dataset']}, epsilon {result['epsilon']:g}"
    table = Table(title=f"{source}: {what}")
    for column in ("attack", "alone %", "standing %", "seconds"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    table.add_row("none", "", f"{100 * result['metrics']['clean_accuracy']:.2f}", "")
    for attack in result["attacks"]:
        alone = "" if attack["alone"] is None else f"{100 * attack['alone']:.2f}"
        table.add_row(attack["name"], alone, f"{100 * attack['standing']:.2f}", f"{attack['seconds']:.1f}")
    console.print(table)
    metrics = result["metrics"]
    for name in ("clean", "robust"):
        low, high = interval(metrics[f"{name}_accuracy"], result["images"])
        share = 100 * metrics[f"{name}_accuracy"]
        console.print(f"{name}: {share:.2f} % (95 %: {100 * low:.1f}-{100 * high:.1f})", highlight=False)
    if "autoattack" in result:
        theirs = result["autoattack"]
        console.print(
            f"AutoAttack standard: {100 * theirs['accuracy']:.2f} %, {theirs['seconds']:.0f} s; "
            f"all of the above {sum(attack['seconds'] for attack in result['attacks']):.0f} s",
            highlight=False,
        )
    curve = "  ".join(f"{epsilon:g}: {100 * accuracy:.1f}" for epsilon, accuracy in result["accuracy_by_epsilon"])
    console.print(f"PGD by epsilon: {curve}", highlight=False, soft_wrap=True)
    console.print(f"masking: {masking(metrics)}", highlight=False, soft_wrap=True)


def sweep_table(sweep: SweepFolder) -> Table:
    """Return the verdicts on a sweep's configurations, in percent: the mean over seeds, lowest to highest."""
    judged = [(one, verdicts) for one in repeats(sweep) if (verdicts := _verdicts(one))]
    images = {verdict["images"] for _, verdicts in judged for verdict in verdicts}
    shown = " or ".join(f"{count:,}" for count in sorted(images))
    epsilon = sweep.space.evaluation.epsilon
    table = Table(title=f"{sweep.name}: {shown} test images, epsilon {epsilon:g}, mean over seeds (lowest to highest)")
    for column in ("configuration", "runs", *_OF_SWEEP, "masking"):
        table.add_column(column, justify="left" if column in ("configuration", "masking") else "right")
    for one, verdicts in judged:
        metrics = [verdict["metrics"] for verdict in verdicts]
        cells = [_spread([each[name] for each in metrics]) for name in _OF_SWEEP.values()]
        name = one.first.run.key.removeprefix("baseline-") if one.first.run.kind == "baseline" else one.first.run.label
        table.add_row(name, str(len(verdicts)), *cells, _checks(metrics))
    return table


def _verdicts(one: Repeats) -> list[dict[str, Any]]:
    found = (read_evaluation(record.run.folder) for record in one.records)
    return [verdict for verdict in found if verdict is not None]


def _spread(values: Sequence[float]) -> str:
    text = f"{100 * mean(values):.1f}"
    return text if len(values) == 1 else f"{text} ({100 * min(values):.1f}-{100 * max(values):.1f})"


def _checks(metrics: Sequence[dict[str, float]]) -> str:
    """Return how many runs pass all checks, and how often each of the others failed."""
    failed = Counter(name for each in metrics for name, passes in masking_checks(each).items() if not passes)
    if not failed:
        return "pass"
    return "fail: " + ", ".join(f"{name} {count}/{len(metrics)}" for name, count in failed.most_common())
