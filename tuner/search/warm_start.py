"""Warm start: a new search begins with the trials of earlier sweeps that fit its space.

A trial fits if the new space contains its configuration, apart from the seed. These trials are copied into the new
sweep's folder, so the earlier sweeps are not needed any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState, create_trial

from search_spaces.configurations import configuration_for
from search_spaces.errors import shown
from search_spaces.parameters import Alternative, FloatRange, Fragments, Parameter, SchedulePart
from search_spaces.parsing.schedules import schedule_part_values
from search_spaces.schema import Space
from trainables.config import parse
from tuner.errors import UserError
from tuner.search.distributions import distribution
from tuner.storage.observations import Observation, read_observations
from tuner.sweep.folder import WARM_START, SweepFolder
from tuner.sweep.ranking import violations
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record, flatten, read_metrics


class _MismatchError(ValueError):
    """The new space does not contain a configuration."""


def collect_observations(space: Space, sweeps: Iterable[SweepFolder]) -> tuple[list[Observation], list[str]]:
    """Return the trials of earlier sweeps that fit a space, and a sentence for each reason why others were left out.

    Args:
        space: of the new sweep.
        sweeps: earlier ones; baselines and runs that have not ended are ignored.

    Raises:
        UserError: the space's sampler does not learn from trials, or no trial fits.
    """
    if space.search.sampler in ("grid", "random", "qmc"):
        raise UserError(f"--warm-start has no effect: the sampler {space.search.sampler} does not learn from trials")
    observations: list[Observation] = []
    left_out: Counter[str] = Counter()
    for sweep in sweeps:
        for record in read_records(sweep):
            if record.run.kind == "baseline" or record.state == "running":
                continue
            if record.state == "failed":
                left_out[f"{sweep.name}: failed"] += 1
                continue
            try:
                parameters = _parameters(space, record.run.settings)
            except _MismatchError as mismatch:
                left_out[f"{sweep.name}: {mismatch}"] += 1
            else:
                observations.append(_observation(space, f"{sweep.name}/{record.run.key}", record, parameters))
    reasons = [f"{count} left out, {reason}" for reason, count in left_out.most_common()]
    if not observations:
        raise UserError(f"no earlier trial fits this space: {'; '.join(reasons) or 'there is none'}")
    return observations, reasons


def fits(space: Space, record: Record) -> bool:
    """Return whether a space contains the configuration of a run, apart from its seed."""
    try:
        _parameters(space, record.run.settings)
    except _MismatchError:
        return False
    return True


def add_observations(sweep: SweepFolder, study: Study) -> int:
    """Add a sweep's observations to its study, except those that an earlier call has added.

    Args:
        sweep: which may have been created with observations.
        study: of its search; the observations are its first trials.

    Returns:
        The number of the sweep's observations.
    """
    observations = read_observations(sweep.folder / WARM_START, sweep.id)
    known = sum("from" in trial.user_attrs for trial in study.get_trials(deepcopy=False))
    if known > len(observations):
        raise UserError(
            f"{sweep.folder / WARM_START} holds {len(observations)} of {known} trials that the sweep began with: put a "
            "copy of it in its place; nothing was changed"
        )
    domains = {parameter.name: parameter.domain for parameter in sweep.space.parameters}
    for observation in observations[len(study.get_trials(deepcopy=False)) :]:
        values, parameters = observation.values, dict(observation.parameters)
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if values is None else TrialState.COMPLETE,
                values=values,
                params=parameters,
                distributions={name: distribution(domains[name]) for name in parameters},
                intermediate_values=dict(observation.reports),
                constraints=dict(observation.violations),
                user_attrs={"from": observation.origin},
            )
        )
    return len(observations)


def _observation(space: Space, origin: str, record: Record, parameters: Mapping[str, Any]) -> Observation:
    is_complete = record.state == "complete"
    # With several objectives, the search's study takes no reports.
    rows = read_metrics(record.run) if space.prunes_on_its_objective else []
    reported = space.prune_on.metric
    return Observation(
        origin=origin,
        parameters=parameters,
        values=[record.metrics[objective.metric] for objective in space.objectives] if is_complete else None,
        reports={int(row["step"]): row[reported] for row in rows if reported in row},
        violations=violations(space.constraints, record.metrics) if is_complete else {},
    )


def _parameters(space: Space, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters' values, by dotted name, that give these complete settings in a space."""
    chosen: dict[str, Any] = {}
    whole: dict[str, Any] = parse(dict(settings)).model_dump(mode="json")  # earlier releases had fewer settings

    def look_up(parameter: Parameter) -> Any:
        chosen[parameter.name] = value = _value(parameter, whole)
        return value

    ours = flatten(configuration_for(space, space.settings(look_up), settings["seed"]))
    theirs = flatten(whole)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise _MismatchError(f"{name} is {theirs.get(name, 'absent')} there and {ours.get(name, 'absent')} here")
    return chosen


def _value(parameter: Parameter, settings: Mapping[str, Any]) -> Any:
    value: Any = settings
    for key in parameter.setting:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(parameter, SchedulePart):
        value = schedule_part_values(value).get(parameter.path[-1])
    if isinstance(parameter, Alternative) and parameter.is_zero:
        value = value == 0
    domain = parameter.domain
    if isinstance(domain, Fragments):
        value = domain.name_of(value, in_part=True) or value
    if not domain.holds(value):
        raise _MismatchError(f"{parameter.name} is {shown(value)} there, and here {domain}")
    return float(value) if isinstance(domain, FloatRange) else value
