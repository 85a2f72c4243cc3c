"""From when on trials can be compared: after warm-up and pretraining, in which the best look like the worst.

While the radius of a recipe's attack or generator grows from zero, robust accuracy is measured at the whole radius and
says next to nothing; while a classifier is trained on clean images alone, it says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel

from search_spaces.checks.fields import Keys
from search_spaces.errors import Mistake
from search_spaces.parameters import Fixed, FloatRange, Fragments, IntRange, Parameter, is_number
from search_spaces.parsing.reader import Draft
from search_spaces.sections import Pruner, keys_of, submodel
from trainables.config import MAX_NUMBER

EARLIER_RUNGS: Mapping[str, float] = {"successive_halving": 1.0, "hyperband": 1.0, "median": 0.0}
"""The first rung of each pruner, in compute, where a sweep of an earlier release names none."""
_LEAST = 1e-3  # of a compute
_WARMUP, _PRETRAIN = "warmup", ("pretrain",)


def default_rung(config: type[BaseModel], parameters: Sequence[Parameter], compute: float) -> float:
    """Return the compute of the first report that can judge: after the warm-up and the pretraining of every trial.

    A report that comes as the warm-up ends is after it; at the end of pretraining nothing robust has been trained yet,
    so the next report is the first. Where trials warm up, it is not before the report nearest to half of the compute:
    just after a warm-up, a search that draws good settings stops the best of them (measured: docs/results/search.md).
    It is at most the whole compute, at which nothing is stopped.

    Args:
        config: the configuration class of the trainable.
        parameters: of the space.
        compute: of a trial, at most.
    """
    warmup, pretraining = _last_moments(config, parameters, compute)
    between = _report_every(config, parameters)
    reports = max(_reports(warmup, between), math.floor(_rounded(pretraining / between)) + 1)
    if warmup:
        reports = max(reports, math.floor(_rounded(compute / 2 / between) + 0.5))
    return min(reports * between, compute)


def rung_mistakes(config: type[BaseModel], draft: Draft) -> Iterator[Mistake]:
    """Yield a mistake if a pruner may compare trials while one of them still warms up or is pretrained.

    Args:
        config: the configuration class of the file's trainable.
        draft: the file as far as it could be read.
    """
    search, compute = draft.section("search"), draft.budget_settings.get("compute")
    pruner, between = search.get("pruner"), _report_every(config, draft.parameters)
    if (
        not isinstance(pruner, dict)
        or not is_number(compute)
        or not _LEAST <= compute <= MAX_NUMBER
        or search.get("accept_early_rungs") is True
    ):
        return
    if any(path[-1] == _WARMUP or path == _PRETRAIN for path in draft.invalid_paths):
        return  # how long they may last is not known
    for name, settings in pruner.items():
        rung = settings.get("min_resource") if name in Pruner.model_fields and isinstance(settings, dict) else None
        ends = _last_moments(config, draft.parameters, compute)
        if not is_number(rung) or rung >= max(ends) or _reports(rung, between) * between >= _rounded(max(ends)):
            continue
        what = "warm-up" if ends[0] >= ends[1] else "pretraining"
        message = (
            f"trials are compared from a compute of {rung:g} on, and their {what} may last until {max(ends):g}, when "
            "the best still look like the worst: leave min_resource out (it is then "
            f"{default_rung(config, draft.parameters, compute):g}), or set search.accept_early_rungs to true"
        )
        yield Mistake(None, ("search", "pruner", name, "min_resource"), message)


def _last_moments(config: type[BaseModel], parameters: Iterable[Parameter], compute: float) -> tuple[float, float]:
    """Return when the longest warm-up and the longest pretraining of a trial end, in compute."""
    given = list(parameters)
    warmups = [_largest(path, default, given) for path, default in _fields_named(_WARMUP, config)]
    default = config.model_fields[_PRETRAIN[0]].default if _PRETRAIN[0] in config.model_fields else 0.0
    pretrain = _largest(_PRETRAIN, default, given) if _PRETRAIN[0] in config.model_fields else 0.0
    return max(warmups, default=0.0) * compute, pretrain


def _fields_named(name: str, model: type[BaseModel], path: Keys = ()) -> Iterator[tuple[Keys, float]]:
    """Yield the paths of a model's fields of a name, at any depth, with their defaults."""
    for key in keys_of(model):
        if key == name:
            yield (*path, key), float(model.model_fields[key].default)
        elif inner := submodel(model, key):
            yield from _fields_named(name, inner, (*path, key))


def _largest(path: Keys, default: float, parameters: Iterable[Parameter]) -> float:
    """Return the largest number that a trial may have for a setting, whose default counts where it may be left out."""
    numbers, is_always_set = [], False
    for parameter in parameters:
        if parameter.setting != path[: len(parameter.setting)]:
            continue
        values = list(_values(parameter, path[len(parameter.setting) :]))
        numbers += [float(value) for value in values if is_number(value)]
        is_always_set |= not parameter.when and all(map(is_number, values))
    return min(max([*numbers, *([] if is_always_set else [default])]), MAX_NUMBER)


def _values(parameter: Parameter, below: Keys) -> Iterator[object]:
    """Yield the extreme values of a parameter, or what its groups set below it; None where they leave that out."""
    domain = parameter.domain
    if isinstance(domain, FloatRange | IntRange):
        yield from (domain.low, domain.high)
        return
    groups = domain.settings.values() if isinstance(domain, Fragments) else domain.values
    for group in groups:
        value: object = group
        for key in below:
            value = value.get(key) if isinstance(value, Mapping) else None
        yield value


def _report_every(config: type[BaseModel], parameters: Iterable[Parameter]) -> float:
    fixed = {item.name: item.domain.value for item in parameters if isinstance(item.domain, Fixed)}
    value = fixed.get("report_every", config.model_fields["report_every"].default)
    return float(value) if is_number(value) and _LEAST <= value <= MAX_NUMBER else 1.0


def _reports(compute: float, between: float) -> int:
    """Return the number of the first report at or after some compute."""
    return max(1, math.ceil(_rounded(compute / between)))


def _rounded(value: float) -> float:
    return round(value, 9)  # 0.1 * 30 is 3
