"""Warm start: what earlier sweeps know of a space, as the new sweep's first observations.

A trial counts where the new space could have drawn the very same configuration, the seed apart. What is taken over is
written into the new sweep's folder, so that it needs the earlier ones no more.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState, create_trial

from search_spaces.configurations import configuration_for
from search_spaces.errors import shown
from search_spaces.parameters import FloatRange, Fragments, Parameter, SchedulePart
from search_spaces.parsing.schedules import schedule_part_values
from search_spaces.schema import Space
from tuner.errors import UserError
from tuner.search.samplers import distribution
from tuner.sweep.folder import WARM_START, SweepFolder
from tuner.sweep.ranking import violations
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record, flatten, read_metrics


class _MismatchError(ValueError):
    """A configuration is none of the new space's."""


def gather(space: Space, sweeps: Iterable[SweepFolder]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what earlier sweeps' trials tell of a space, as plain data, and in words what was left out.

    Raises:
        UserError: the space's sampler does not learn, or no trial fits it.
    """
    if space.search.sampler in ("grid", "random", "qmc"):
        raise UserError(f"--warm-start has no effect: the sampler {space.search.sampler} does not learn from trials")
    observations: list[dict[str, Any]] = []
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
    words = [f"{count} left out, {reason}" for reason, count in left_out.most_common()]
    if not observations:
        raise UserError(f"no earlier trial fits this space: {'; '.join(words) or 'there is none'}")
    return observations, words


def add(sweep: SweepFolder, study: Study) -> int:
    """Put a new sweep's observations into its study, those that are not there yet; return how many there are."""
    path = sweep.folder / WARM_START
    if not path.exists():
        return 0
    observations = json.loads(path.read_bytes())["trials"]
    domains = {parameter.name: parameter.domain for parameter in sweep.space.parameters}
    for one in observations[len(study.get_trials(deepcopy=False)) :]:
        values = one["values"]
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if values is None else TrialState.COMPLETE,
                values=values,
                params=one["parameters"],
                distributions={name: distribution(domains[name]) for name in one["parameters"]},
                intermediate_values={int(step): value for step, value in one["reports"].items()},
                constraints=one["violations"],
                user_attrs={"from": one["from"]},
            )
        )
    return len(observations)


def _observation(space: Space, origin: str, record: Record, parameters: Mapping[str, Any]) -> dict[str, Any]:
    is_whole = record.state == "complete"
    # The reports of a trial with several objectives are none that its own study could compare.
    rows = read_metrics(record.run.folder) if list(space.objectives) == [space.prune_on] else []
    return {
        "from": origin,
        "parameters": parameters,
        "values": [record.metrics[one.metric] for one in space.objectives] if is_whole else None,
        "reports": {int(row["step"]): row[space.prune_on.metric] for row in rows},
        "violations": violations(space.constraints, record.metrics) if is_whole else {},
    }


def _parameters(space: Space, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, by dotted name, with which a space draws these complete settings."""
    chosen: dict[str, Any] = {}

    def look_up(parameter: Parameter) -> Any:
        chosen[parameter.name] = value = _value(parameter, settings)
        return value

    ours = flatten(configuration_for(space, space.settings(look_up), settings["seed"]))
    theirs = flatten(dict(settings))
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise _MismatchError(f"{name} is {theirs.get(name, 'absent')} there and {ours.get(name, 'absent')} here")
    return chosen


def _value(parameter: Parameter, settings: Mapping[str, Any]) -> Any:
    value: Any = settings
    for key in parameter.place[1:]:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(parameter, SchedulePart):
        value = schedule_part_values(value).get(parameter.path[-1])
    domain = parameter.domain
    if isinstance(domain, Fragments):
        fits = (name for name, group in domain.settings.items() if _holds(value, group))
        value = next(fits, value)
    if not domain.holds(value):
        raise _MismatchError(f"{parameter.name} is {shown(value)} there, and here {domain}")
    return float(value) if isinstance(domain, FloatRange) else value


def _holds(settings: Any, group: Any) -> bool:
    """Say whether complete settings have every setting of a group."""
    if not isinstance(group, Mapping):
        return bool(settings == group)
    return isinstance(settings, Mapping) and all(_holds(settings.get(key), value) for key, value in group.items())
