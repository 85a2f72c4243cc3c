"""Computes the result of confirming a sweep: the winner, how certain that is, and its lead over each baseline.

The winner is the configuration with the best mean of the objective on validation images over the fresh seeds, of equal
ones the one with the best clean accuracy there. Its accuracy and its leads are measured on test images, which neither
the search nor the choice of the winner has used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean

from trainables.evaluation.checks import MASKING_FAILURES
from trainables.evaluation.metrics import is_accuracy, metric_named
from tuner.search.confirmation import Configuration, Plan, configuration_of, race
from tuner.statistics import Difference, holm, paired, student_interval
from tuner.sweep.confirmation import (
    FORMAT,
    Confirmation,
    ConfirmedConfiguration,
    ConfirmedRun,
    Lead,
    MeanOverSeeds,
)
from tuner.sweep.evaluations import EvaluationResults, read_evaluation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import clean_accuracy, violations
from tuner.sweep.runs import Record, Tier, num_images

SIGNIFICANT = 0.05
"""The p-value below which a difference is called one."""

Evaluations = Mapping[str, EvaluationResults | None]
"""Evaluations on test images by the key of the run."""


def write_confirmation(
    sweep: SweepFolder, plan: Plan, records: Sequence[Record], tier: Tier, record: Callable[[str], None]
) -> Confirmation:
    """Compute the result of confirming a sweep, write it to ``confirm.json``, and return it.

    Args:
        sweep: the sweep; the caller holds its lock.
        plan: the configurations and seeds; all of their runs have ended.
        records: of these runs; complete ones have been evaluated on test images.
        tier: the attacks of that evaluation.
        record: see `tuner.sweep.confirmation.Confirmation.write`.
    """
    evaluations = {each.run.key: read_evaluation(each.run, tier) for each in records}
    confirmation = confirm_results(sweep, plan, records, evaluations, tier)
    confirmation.write(sweep, record)
    return confirmation


def confirm_results(
    sweep: SweepFolder, plan: Plan, records: Sequence[Record], evaluations: Evaluations, tier: Tier
) -> Confirmation:
    """Return the result of confirming a sweep.

    Args:
        sweep: the sweep; nothing is read from its folder.
        plan: the configurations and seeds; all of their runs have ended.
        records: of these runs.
        evaluations: of the complete runs.
        tier: the attacks of the evaluations.
    """
    eliminated = race(sweep.space, plan, records)
    configurations = [
        _confirm_configuration(sweep, plan, configuration, records, eliminated.get(configuration.name), evaluations)
        for configuration in plan.configurations
    ]
    objective = sweep.space.objective
    tests = [run.test for configuration in configurations for run in configuration.runs if run.test]
    images = min((test.images for test in tests), default=0)
    candidates = [each for each in configurations if not each.is_baseline and each.elimination_reason is None]
    candidates.sort(key=lambda each: (-objective.sign * _mean_objective(each), -_mean_clean(each, records)))
    metric = objective.metric if _is_tested(candidates, objective.metric) else "robust"
    winner = candidates[0] if candidates else None
    tied: list[str] = []
    leads: list[Lead] = []
    if winner:
        tested = [each for each in configurations if each.is_baseline and metric in each.test]
        tied = _tied(winner, candidates[1:], _resolution(sweep, winner.settings))
        leads = _leads(winner, tested, metric, 1 / images)
    return Confirmation(
        format=FORMAT,
        sweep=sweep.name,
        sweep_id=sweep.id,
        metric=objective.metric,
        mode=objective.mode,
        tier=tier,
        validation_images=num_images(plan.configurations[0].settings, ranked=True),
        images=images,
        epsilon=sweep.space.evaluation.epsilon,
        top=plan.top,
        seeds=plan.seeds,
        test_metric=metric,
        winner=winner.name if winner else None,
        run=_median_run(winner) if winner else None,
        tied=tuple(tied),
        differences=tuple(leads),
        configurations=tuple(configurations),
    )


def is_confirmed(confirmation: Confirmation | None) -> bool:
    """Return whether a sweep's winner is confirmed: with fresh seeds, it is better than each baseline on test images.

    Without a baseline to compare with, nothing is confirmed.
    """
    if confirmation is None or confirmation.winner is None:
        return False
    return bool(confirmation.differences) and all(is_better(lead) for lead in confirmation.differences)


def is_better(lead: Lead) -> bool:
    """Return whether a configuration is better than a baseline, by the corrected p-value."""
    return lead.mean > 0 and lead.p_corrected < SIGNIFICANT


def leads_of(confirmation: Confirmation, configuration: ConfirmedConfiguration) -> tuple[Lead, ...]:
    """Return the lead of a configuration over each baseline on test images, corrected for the number of baselines.

    Args:
        confirmation: that has the configuration.
        configuration: a trial's; a baseline, or one that was not evaluated, has no leads.
    """
    metric = confirmation.test_metric
    if configuration.is_baseline or metric not in configuration.test:
        return ()
    if configuration.name == confirmation.winner:
        return confirmation.differences
    baselines = [one for one in confirmation.configurations if one.is_baseline and metric in one.test]
    return tuple(_leads(configuration, baselines, metric, 1 / confirmation.images))


def _confirm_configuration(
    sweep: SweepFolder,
    plan: Plan,
    configuration: Configuration,
    records: Sequence[Record],
    eliminated: str | None,
    evaluations: Evaluations,
) -> ConfirmedConfiguration:
    own = {record.run.settings["seed"]: record for record in records if configuration_of(record) == configuration.name}
    ordered = [own[seed] for seed in plan.seeds if seed in own]
    complete = [record for record in ordered if record.state == "complete"]
    tests = [test for record in complete if (test := evaluations.get(record.run.key))]
    measured = tests[0].metrics if tests else {}
    accuracies = [name for name in measured if is_accuracy(name) and all(name in test.metrics for test in tests)]
    images = min((test.images for test in tests), default=1)
    values = [record.value or 0.0 for record in complete]
    resolution = _resolution(sweep, configuration.settings)
    return ConfirmedConfiguration(
        name=configuration.name,
        label=next(iter(own.values())).run.label if own else configuration.settings["trainable"],
        is_baseline=configuration.is_baseline,
        elimination_reason=eliminated or _violated_on_average(sweep, complete),
        settings=configuration.settings,
        validation=_mean_over_seeds(values, resolution) if complete else None,
        test={name: _mean_over_seeds([test.metrics[name] for test in tests], 1 / images) for name in accuracies},
        num_masked=sum(test.metrics.get(MASKING_FAILURES, 0) > 0 for test in tests),
        runs=tuple(_confirm_run(record, evaluations) for record in ordered),
    )


def _confirm_run(record: Record, evaluations: Evaluations) -> ConfirmedRun:
    return ConfirmedRun(
        run=record.run.key,
        seed=record.run.settings["seed"],
        outcome=record.outcome,
        reason=record.reason,
        validation=record.value,
        test=evaluations.get(record.run.key) if record.state == "complete" else None,
    )


def _resolution(sweep: SweepFolder, settings: Mapping[str, object]) -> float:
    """Return the smallest step of the objective on validation images: one image's share of an accuracy."""
    is_share = metric_named(sweep.space.objective.metric).is_share
    return 1 / num_images(dict(settings), ranked=True) if is_share else 0.0


def _violated_on_average(sweep: SweepFolder, complete: Sequence[Record]) -> str | None:
    """Return which constraint the means of the complete runs violate: single runs may violate one by chance."""
    if not complete:
        return "no run ran to the end"
    means = {name: mean(record.metrics[name] for record in complete) for name in sweep.space.constraints}
    violated = [name for name, violation in violations(sweep.space.constraints, means).items() if violation > 0]
    return f"outside {', '.join(violated)} on average" if violated else None


def _mean_over_seeds(values: Sequence[float], resolution: float) -> MeanOverSeeds:
    low, high = student_interval(values, resolution) or (None, None)
    return MeanOverSeeds(mean=mean(values), low=low, high=high, seeds=len(values))


def _mean_objective(configuration: ConfirmedConfiguration) -> float:
    return configuration.validation.mean if configuration.validation else 0.0


def _mean_clean(configuration: ConfirmedConfiguration, records: Sequence[Record]) -> float:
    """Return the mean clean accuracy of a configuration's complete runs on validation images."""
    own = [record for record in records if configuration_of(record) == configuration.name]
    return mean([clean_accuracy(record.metrics) for record in own if record.state == "complete"] or [0.0])


def _is_tested(configurations: Sequence[ConfirmedConfiguration], metric: str) -> bool:
    return all(metric in configuration.test for configuration in configurations)


def _median_run(configuration: ConfirmedConfiguration) -> str:
    """Return the run with the median objective, of two the lower: what to expect of one more training."""
    values = [(run.validation, run.run) for run in configuration.runs if run.validation is not None]
    values.sort(key=lambda pair: pair[0])
    return values[(len(values) - 1) // 2][1]


def _tied(winner: ConfirmedConfiguration, others: Sequence[ConfirmedConfiguration], resolution: float) -> list[str]:
    """Return which of the others the objective on validation images does not distinguish from the winner."""
    pairs = [_paired(winner, other, lambda run: run.validation or 0.0, resolution) for other in others]
    corrected = holm([pair.p_value for pair in pairs])
    return [other.name for other, p_value in zip(others, corrected, strict=True) if p_value >= SIGNIFICANT]


def _leads(
    winner: ConfirmedConfiguration, baselines: Sequence[ConfirmedConfiguration], metric: str, resolution: float
) -> list[Lead]:
    """Return the lead over each baseline that has a complete run with a seed of one of the winner's."""

    def on_test_images(run: ConfirmedRun) -> float:
        if run.test is None:
            raise LookupError(f"{run.run} has not been evaluated on test images")
        return run.test.metrics[metric]

    seeds = _complete_seeds(winner)
    baselines = [baseline for baseline in baselines if seeds & _complete_seeds(baseline)]
    differences = [_paired(winner, baseline, on_test_images, resolution) for baseline in baselines]
    corrected = holm([difference.p_value for difference in differences])
    return [
        Lead(
            against=baseline.display_name,
            label=baseline.label,
            mean=difference.mean,
            interval=difference.interval,
            method=difference.method,
            student=difference.student,
            bootstrap=difference.bootstrap,
            p_value=difference.p_value,
            p_corrected=p_value,
            num_pairs=difference.num_pairs,
        )
        for baseline, difference, p_value in zip(baselines, differences, corrected, strict=True)
    ]


def _complete_seeds(configuration: ConfirmedConfiguration) -> set[int]:
    return {run.seed for run in configuration.runs if run.validation is not None}


def _paired(
    ours: ConfirmedConfiguration,
    theirs: ConfirmedConfiguration,
    value: Callable[[ConfirmedRun], float],
    resolution: float = 0.0,
) -> Difference:
    """Return the difference of two configurations over the seeds with which both have a complete run."""
    first, second = (
        {run.seed: value(run) for run in configuration.runs if run.validation is not None}
        for configuration in (ours, theirs)
    )
    seeds = [seed for seed in first if seed in second]
    return paired([first[seed] for seed in seeds], [second[seed] for seed in seeds], resolution)
