"""Whether each parameter of a search space is a setting of its trainable, and all that it may be within the bounds."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from search_spaces.checks.fields import Keys, LocatedValues, recipe_value_mistakes, value_mistakes
from search_spaces.checks.schedules import schedule_mistakes
from search_spaces.errors import Mistake, Path
from search_spaces.parameters import (
    Alternative,
    Domain,
    Fixed,
    FloatRange,
    Fragments,
    IntRange,
    Parameter,
    SchedulePart,
    is_number,
    leaf_values,
)
from search_spaces.parsing.reader import Draft
from trainables.config import TrainingConfig


def parameter_mistakes(config: type[BaseModel], draft: Draft) -> Iterator[Mistake]:
    """Yield what is wrong with the parameters of a file, each looked at alone.

    Args:
        config: the configuration class of the file's trainable.
        draft: the file as far as it could be read.
    """
    for parameter in draft.parameters:
        if isinstance(parameter, SchedulePart):
            wrong = list(recipe_value_mistakes(config, parameter.path[:-1], parameter.place, []))
            yield from wrong or schedule_mistakes(config, parameter, next(_located_values(parameter))[-1])
            continue
        if parameter.setting == ("report_every",) and (parameter.varies or isinstance(parameter, Alternative)):
            message = "must be fixed: trials are compared at the same reports"
            yield Mistake(None, parameter.place, message)
        if parameter.setting == ("compute",) and (parameter.varies or isinstance(parameter, Alternative)):
            yield from _compute_mistakes(parameter, draft)
            continue
        for path, place, values in _located_values(parameter):
            yield from recipe_value_mistakes(config, path, place, values)
    for path in draft.empty_paths:
        place = ("parameters", *path)
        yield from recipe_value_mistakes(config, path, place, [(place, {})])
    for path in draft.invalid_paths:
        if all(key.isidentifier() for key in path):
            yield from recipe_value_mistakes(config, path, ("parameters", *path), [])


def _compute_mistakes(parameter: Parameter, draft: Draft) -> Iterator[Mistake]:
    """Check a compute that varies from trial to trial: it must not exceed the budget's, which the baselines spend."""
    most = draft.budget_settings.get("compute")
    for path, place, values in _located_values(parameter):
        yield from value_mistakes(TrainingConfig, path, place, values)
        for where, value in values:
            if is_number(value) and is_number(most) and value > most:
                message = f"must not be above budget.compute ({most:g}), which the baselines spend, and is {value:g}"
                yield Mistake(None, where, message)


def _located_values(parameter: Parameter) -> Iterator[tuple[Keys, Path, LocatedValues]]:
    """Yield the settings that a parameter decides: the path of each, its path in the file, and the values to check.

    A range is checked at its two ends.
    """
    path, place, domain = parameter.path, parameter.place, parameter.domain
    if isinstance(parameter, Alternative):
        path, whole = parameter.setting, place[: 1 + parameter.is_in_group + len(parameter.common)]
        yield path, whole, [((*place, "or_zero"), 0)] if parameter.is_zero else _values_at(place, domain)
    elif isinstance(domain, Fixed):
        yield path, place, _values_at(place, domain)
    elif isinstance(domain, Fragments):
        for name, group in domain.settings.items():
            for keys, value in leaf_values(group):
                inner = (*place, "choice", name, *keys)
                yield (*path, *keys), inner, [(inner, value)]
    else:
        yield path, place, _values_at(place, domain)


def _values_at(place: Path, domain: Domain) -> LocatedValues:
    """Return the values of a domain, of a range its two ends, each with its path in the file."""
    if isinstance(domain, Fixed):
        return [(place, domain.value)]
    if isinstance(domain, FloatRange | IntRange):
        kind = "float" if isinstance(domain, FloatRange) else "int"
        return [((*place, kind, 0), domain.low), ((*place, kind, 1), domain.high)]
    return [((*place, "choice", index), value) for index, value in enumerate(domain.values)]
