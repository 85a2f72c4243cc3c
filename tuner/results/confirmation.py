"""What confirming found: the winner, how sure that is, and its lead over each baseline. One file, ``confirm.json``.

The winner is the configuration with the best mean of the objective on validation images over the fresh seeds; what is
claimed of it was measured on test images, which nothing before has seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from trainables.storage.atomic import write_json
from tuner.errors import UserError
from tuner.search.confirmation import Configuration, Plan, configuration_of, race
from tuner.statistics import Difference, holm, paired, student_interval
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import violations
from tuner.sweep.runs import MASKING_FAILURES, Record, Tier, num_images, read_evaluation

FORMAT = 1
FILE = "confirm.json"
SIGNIFICANT = 0.05


def read_confirmed(sweep: SweepFolder) -> dict[str, Any] | None:
    """Return what confirming a sweep found; None if it has not been confirmed.

    Raises:
        UserError: another release wrote it.
    """
    try:
        found: dict[str, Any] = json.loads((sweep.folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    if found.get("format") != FORMAT:
        raise UserError(f"{sweep.folder / FILE} has format {found.get('format')}; this release reads format {FORMAT}")
    return found


def main_numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """Return what was found as numbers by name: the winner's accuracy, its interval, and its leads."""
    numbers: dict[str, float] = {"seeds": len(found["seeds"])}
    metric = found["test_metric"]
    for one in found["configurations"]:
        if one["name"] == found["winner"]:
            test = one["test"][metric]
            numbers |= {metric: test["mean"], f"{metric}.low": test["low"], f"{metric}.high": test["high"]}
    for one in found["differences"]:
        numbers |= {f"lead.{one['against']}": one["mean"], f"p_value.{one['against']}": one["p_corrected"]}
    return {name: value for name, value in numbers.items() if value is not None}


def write_confirmed(sweep: SweepFolder, plan: Plan, records: Sequence[Record], tier: Tier) -> dict[str, Any]:
    """Write what confirming found, whole, and return it.

    Args:
        sweep: that is confirmed; the caller holds its lock.
        plan: all of whose runs have ended.
        records: of these runs; complete ones have been judged on test images.
        tier: by which attacks.
    """
    found = _summary(sweep, plan, records, tier)
    write_json(sweep.folder / FILE, found)
    return found


def _summary(sweep: SweepFolder, plan: Plan, records: Sequence[Record], tier: Tier) -> dict[str, Any]:
    left = race(sweep.space, plan, records)
    configurations = [
        _configuration(sweep, plan, one, records, left.get(one.name), tier) for one in plan.configurations
    ]
    verdicts = [run["test"] for one in configurations for run in one["runs"] if run["test"]]
    objective = sweep.space.objective
    about: dict[str, Any] = {
        "format": FORMAT,
        "sweep": sweep.name,
        "sweep_id": sweep.id,
        "metric": objective.metric,
        "mode": objective.mode,
        "tier": tier,
        "validation_images": num_images(plan.configurations[0].settings, ranked=True),
        "images": min((verdict["images"] for verdict in verdicts), default=0),
        "epsilon": sweep.space.evaluation.epsilon,
        "top": plan.top,
        "seeds": list(plan.seeds),
    }
    able = [one for one in configurations if not one["baseline"] and one["out"] is None]
    order = sorted(able, key=lambda one: -objective.sign * one["validation"]["mean"])
    about["test_metric"] = metric = objective.metric if _is_tested(order, objective.metric) else "robust_accuracy"
    outcome: dict[str, Any] = {"winner": None, "run": None, "tied": [], "differences": []}
    if order:
        winner = order[0]
        tested = [one for one in configurations if one["baseline"] and metric in one["test"]]
        outcome = {
            "winner": winner["name"],
            "run": _median_run(winner),
            "tied": _tied(winner, order[1:], _finest(sweep, winner["settings"])),
            "differences": _differences(winner, tested, metric, 1 / about["images"]),
        }
    return {**about, **outcome, "configurations": configurations}


def _configuration(
    sweep: SweepFolder, plan: Plan, one: Configuration, records: Sequence[Record], left: str | None, tier: Tier
) -> dict[str, Any]:
    """Return what is known of a configuration; ``out`` says why it cannot win."""
    own = {record.run.settings["seed"]: record for record in records if configuration_of(record) == one.name}
    complete = [record for seed in plan.seeds if (record := own.get(seed)) and record.state == "complete"]
    verdicts = {record.run.key: read_evaluation(record.run.folder, tier) for record in complete}
    runs = [
        {
            "run": record.run.key,
            "seed": record.run.settings["seed"],
            "outcome": record.outcome,
            "reason": record.reason,
            "validation": record.value,
            "test": verdicts.get(record.run.key),
        }
        for record in (own[seed] for seed in plan.seeds if seed in own)
    ]
    metrics = [verdict["metrics"] for verdict in verdicts.values() if verdict]
    names = [name for name in (metrics[0] if metrics else {}) if name.endswith("_accuracy")]
    images = min((verdict["images"] for verdict in verdicts.values() if verdict), default=1)
    spreads = {name: _spread([each[name] for each in metrics], 1 / images) for name in names}
    values = [record.value or 0.0 for record in complete]
    return {
        "name": one.name,
        "label": next(iter(own.values())).run.label if own else one.settings["trainable"],
        "baseline": one.is_baseline,
        "out": left or _broken(sweep, complete),
        "settings": one.settings,
        "validation": _spread(values, _finest(sweep, one.settings)) if complete else None,
        "test": spreads,
        "masked": sum(each.get(MASKING_FAILURES, 0) > 0 for each in metrics),
        "runs": runs,
    }


def _finest(sweep: SweepFolder, settings: Mapping[str, Any]) -> float:
    """Return the finest step of the objective on validation images: one image's share of an accuracy."""
    is_accuracy = sweep.space.objective.metric.endswith("_accuracy")
    return 1 / num_images(dict(settings), ranked=True) if is_accuracy else 0.0


def _broken(sweep: SweepFolder, complete: Sequence[Record]) -> str | None:
    """Say which constraint the means of the complete runs break: single runs may be beside one by chance."""
    if not complete:
        return "no run ran to the end"
    means = {name: mean(one.metrics[name] for one in complete) for name in sweep.space.constraints}
    broken = [name for name, violation in violations(sweep.space.constraints, means).items() if violation > 0]
    return f"outside {', '.join(broken)} on average" if broken else None


def _spread(values: Sequence[float], resolution: float) -> dict[str, Any]:
    low, high = student_interval(values, resolution) or (None, None)
    return {"mean": mean(values), "low": low, "high": high, "seeds": len(values)}


def _is_tested(configurations: Sequence[Mapping[str, Any]], metric: str) -> bool:
    return all(metric in one["test"] for one in configurations)


def _median_run(one: Mapping[str, Any]) -> str:
    """Return the run in the middle by the objective, of two the lower: what to expect of one more training."""
    runs = sorted((run for run in one["runs"] if run["validation"] is not None), key=lambda run: run["validation"])
    return str(runs[(len(runs) - 1) // 2]["run"])


def _tied(winner: Mapping[str, Any], others: Sequence[Mapping[str, Any]], resolution: float) -> list[str]:
    """Return which of the others the objective's values on validation images do not tell from the winner."""
    pairs = [_paired(winner, other, lambda run: run["validation"], resolution) for other in others]
    corrected = holm([pair.p_value for pair in pairs])
    return [other["name"] for other, p_value in zip(others, corrected, strict=True) if p_value >= SIGNIFICANT]


def _differences(
    winner: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]], metric: str, resolution: float
) -> list[dict[str, Any]]:
    found = [_paired(winner, one, lambda run: run["test"]["metrics"][metric], resolution) for one in baselines]
    corrected = holm([one.p_value for one in found])
    return [
        {
            "against": baseline["name"].removeprefix("baseline-"),
            "label": baseline["label"],
            "mean": one.mean,
            "interval": one.interval,
            "method": one.method,
            "student": one.student,
            "bootstrap": one.bootstrap,
            "p_value": one.p_value,
            "p_corrected": p_value,
            "pairs": one.num_pairs,
        }
        for baseline, one, p_value in zip(baselines, found, corrected, strict=True)
    ]


def _paired(one: Mapping[str, Any], other: Mapping[str, Any], value: Any, resolution: float = 0.0) -> Difference:
    """Return the difference of two configurations over the seeds that both have."""
    ours, theirs = (
        {run["seed"]: value(run) for run in each["runs"] if run["validation"] is not None} for each in (one, other)
    )
    seeds = [seed for seed in ours if seed in theirs]
    return paired([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds], resolution)
