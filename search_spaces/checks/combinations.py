"""Whether values of a search space that are each valid alone are valid together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, islice, product
from math import prod

from pydantic import BaseModel

from search_spaces.checks.fields import Keys, model_mistakes
from search_spaces.errors import Mistake, Path
from search_spaces.parameters import FloatRange, Fragments, IntRange, Parameter, is_number, settings_of
from search_spaces.parsing.reader import Draft
from search_spaces.sections import keys_of, submodel

# A choice or an int range with at most so many values is tried with all of them, a longer one with a few.
_MAX_EXHAUSTIVE = 11
_MAX_PRODUCT = 1000  # combinations of the values of related parameters; of more, the values of every two are tried
_MAX_CHECKED = 3000  # configurations that are validated for one file


def combination_mistakes(config: type[BaseModel], draft: Draft, earlier: Iterable[Mistake]) -> Iterator[Mistake]:
    """Yield what is wrong with combinations of valid values.

    Complete configurations are validated: all parameters at their first value or lower end, all at their last value or
    upper end and, if both are valid, the values of those together that the configuration's models relate to each other
    (`trainables.config.Settings.related`), up to the first mistake. The number of validations has an upper bound.

    Args:
        config: the configuration class of the file's trainable.
        draft: the file as far as it could be read.
        earlier: mistakes found so far; parameters at or below their paths are left out.
    """
    wrong = [mistake.path for mistake in earlier]
    valid = [item for item in draft.parameters if not any(_overlap(item.place, path) for path in wrong)]
    varying = [parameter for parameter in valid if parameter.varies]
    first, last = ({parameter.name: _ends(parameter)[end] for parameter in varying} for end in (0, -1))

    def mistakes_with(values: Mapping[str, object]) -> list[Mistake]:
        settings = settings_of(valid, lambda parameter: values[parameter.name])
        refused = model_mistakes(config, {**draft.shared_settings, **settings})
        return [
            Mistake(None, ("parameters", *(path or _path_named_in(message, valid))), message)
            for path, message in refused
            if not (path and any(_overlap(("parameters", *path), other) for other in wrong))
        ]

    mistakes = [*mistakes_with(first), *mistakes_with(last)]
    if not mistakes:
        groups = [_related_parameters(valid, fields) for fields in _related_fields(config)]
        different = {tuple(parameter.name for parameter in group): group for group in groups}
        candidates = chain.from_iterable(map(_combined, different.values()))
        tried = ({**first, **some} for some in islice(candidates, _MAX_CHECKED))
        mistakes = next(filter(None, map(mistakes_with, tried)), [])
    yield from mistakes


def _related_fields(model: type[BaseModel], path: Keys = ()) -> Iterator[list[Keys]]:
    """Yield the paths of each group of fields that a model or a model below it validates together."""
    for names in getattr(model, "related", ()):
        yield [(*path, *name.split(".")) for name in names]
    for key in keys_of(model):
        if inner := submodel(model, key):
            yield from _related_fields(inner, (*path, key))


def _related_parameters(parameters: Sequence[Parameter], fields: Sequence[Keys]) -> list[Parameter]:
    """Return the varying parameters that decide fields, and those that decide whether one of them is used."""
    decisive: list[Parameter] = []
    named: set[str] = set()
    for parameter in reversed(parameters):  # those that conditions name come before those that have them
        if parameter.name in named or any(_decides(parameter, field) for field in fields):
            decisive.append(parameter)
            named.update(parameter.conditions)
    return [parameter for parameter in decisive if parameter.varies]


def _decides(parameter: Parameter, field: Keys) -> bool:
    """Return whether a parameter sets a field, or a group of settings that it may choose does."""
    if not isinstance(parameter.domain, Fragments) or not _overlap(parameter.path, field):
        return parameter.setting[: len(field)] == field
    below = field[len(parameter.path) :]
    return any(_sets(group, below) for group in parameter.domain.settings.values())


def _sets(settings: object, keys: Keys) -> bool:
    return not keys or (isinstance(settings, Mapping) and keys[0] in settings and _sets(settings[keys[0]], keys[1:]))


def _combined(parameters: Sequence[Parameter]) -> Iterator[Mapping[str, object]]:
    """Yield values of related parameters by name: all combinations or, of many, those of every two parameters."""
    values = {parameter.name: _exhaustive(parameter) or _distinctive(parameter) for parameter in parameters}
    if prod(map(len, values.values())) <= _MAX_PRODUCT:
        for combination in product(*values.values()):
            yield dict(zip(values, combination, strict=True))
        return
    for parameter in parameters:
        for value in values[parameter.name]:
            yield {**_met_conditions(parameter), parameter.name: value}
    for left, right in combinations(parameters, 2):
        conditions = _met_conditions(left, right)
        for left_value, right_value in _value_pairs(left, right):
            yield {**conditions, left.name: left_value, right.name: right_value}


def _met_conditions(*parameters: Parameter) -> dict[str, object]:
    """Return by name a value for every parameter that conditions name: one that meets all of them, if there is one."""
    required: dict[str, list[object]] = {}
    for name, values in chain.from_iterable(parameter.conditions.items() for parameter in parameters):
        required[name] = [value for value in values if value in required.get(name, values)] or list(values)
    return {name: values[0] for name, values in required.items() if values}


def _value_pairs(left: Parameter, right: Parameter) -> Iterable[tuple[object, object]]:
    """Return the pairs of two parameters' values to check: all of them, or with long domains a linear number."""
    left_values, right_values = _exhaustive(left), _exhaustive(right)
    if left_values is not None and right_values is not None:
        return product(left_values, right_values)
    return dict.fromkeys(
        chain(
            product(left_values or _distinctive(left), right_values or _ends(right)),
            product(left_values or _ends(left), right_values or _distinctive(right)),
        )
    )


def _exhaustive(parameter: Parameter) -> Sequence[object] | None:
    """Return all values of a parameter that has few, else None."""
    domain = parameter.domain
    if isinstance(domain, FloatRange):
        return _ends(parameter)
    if isinstance(domain, IntRange):
        return domain.points if domain.num_points <= _MAX_EXHAUSTIVE else None
    return domain.values if len(domain.values) <= _MAX_EXHAUSTIVE else None


def _distinctive(parameter: Parameter) -> Collection[object]:
    """Return the ends of a parameter's values, and all that are no numbers.

    A relation between two settings that holds at the smallest and the largest number holds between them.
    """
    values = () if isinstance(parameter.domain, FloatRange | IntRange) else parameter.domain.values
    return dict.fromkeys([*_ends(parameter), *(value for value in values if not is_number(value))])


def _ends(parameter: Parameter) -> Sequence[object]:
    """Return the two ends of a range; the first and last value of a choice, and its smallest and largest number."""
    domain = parameter.domain
    if isinstance(domain, FloatRange | IntRange):
        return (domain.low, domain.high)
    numbers = [value for value in domain.values if is_number(value)]
    return (domain.values[0], *((min(numbers), max(numbers)) if numbers else ()), domain.values[-1])


def _overlap(path: Path, other: Path) -> bool:
    """Return whether one path leads to the other, or both are equal."""
    common = min(len(path), len(other))
    return path[:common] == other[:common]


def _path_named_in(message: str, parameters: Iterable[Parameter]) -> Path:
    """Return the path of the first parameter whose last key is a word of a message, empty if there is none."""
    words = re.findall(r"\w+", message)
    return next((parameter.setting for parameter in parameters if parameter.setting[-1] in words), ())
