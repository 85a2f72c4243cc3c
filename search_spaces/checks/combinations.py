"""Whether values of a search space that are each valid alone are valid together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, product

from pydantic import BaseModel

from search_spaces.checks.fields import model_mistakes
from search_spaces.errors import Mistake, Path
from search_spaces.parameters import FloatRange, IntRange, Parameter, is_number, settings_of
from search_spaces.parsing.reader import Draft

# Of a choice or an int range with more values than this, pairs are formed with a few only: 0 to 9 (labels), and null.
_MAX_EXHAUSTIVE = 11


def combination_mistakes(config: type[BaseModel], draft: Draft, earlier: Iterable[Mistake]) -> Iterator[Mistake]:
    """Yield what is wrong with combinations of valid values.

    Complete configurations are validated: all parameters at their first value or lower end, all at their last value or
    upper end and, if both are valid, the values of every parameter and of every two together, up to the first mistake.
    The number of validations is linear in the number of values: see `_value_pairs`.

    Args:
        config: the configuration class of the file's trainable.
        draft: the file as far as it could be read.
        earlier: mistakes found so far; parameters at or below their paths are left out.
    """
    wrong = [mistake.path for mistake in earlier]
    valid = [item for item in draft.parameters if not any(_overlap(("parameters", *item.path), path) for path in wrong)]
    varying = [parameter for parameter in valid if parameter.varies]
    first, last = ({parameter.name: _ends(parameter)[end] for parameter in varying} for end in (0, 1))

    def mistakes_with(values: Mapping[str, object]) -> list[Mistake]:
        settings = settings_of(valid, lambda parameter: values[parameter.name])
        refused = model_mistakes(config, {**draft.budget_settings, **settings})
        return [
            Mistake(None, ("parameters", *(path or _path_named_in(message, valid))), message)
            for path, message in refused
            if not (path and any(_overlap(("parameters", *path), other) for other in wrong))
        ]

    mistakes = [*mistakes_with(first), *mistakes_with(last)]
    if not mistakes:
        candidates = ({**first, **some} for some in chain(_singles(varying), _pairs(varying)))
        mistakes = next(filter(None, map(mistakes_with, candidates)), [])
    yield from mistakes


def _singles(parameters: Iterable[Parameter]) -> Iterator[dict[str, object]]:
    """Yield values of every parameter by name, with values of other parameters that meet its conditions."""
    for parameter in parameters:
        for value in _exhaustive(parameter) or _distinctive(parameter):
            yield {**_met_conditions(parameter), parameter.name: value}


def _pairs(parameters: Iterable[Parameter]) -> Iterator[dict[str, object]]:
    """Yield values of every two parameters by name, with values of other parameters that meet their conditions."""
    for left, right in combinations(parameters, 2):
        conditions = _met_conditions(left, right)
        for left_value, right_value in _value_pairs(left, right):
            yield {**conditions, left.name: left_value, right.name: right_value}


def _met_conditions(*parameters: Parameter) -> dict[str, object]:
    """Return by name a value for every parameter that conditions name: one that meets all of them, if there is one."""
    required: dict[str, list[object]] = {}
    for path, values in chain.from_iterable(parameter.when for parameter in parameters):
        name = ".".join(path)
        required[name] = [value for value in values if value in required.get(name, values)] or list(values)
    return {name: values[0] for name, values in required.items()}


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
    if isinstance(domain, IntRange):
        values: Sequence[object] = range(domain.low, domain.high + 1)
    elif isinstance(domain, FloatRange):
        return _ends(parameter)
    else:
        values = domain.values
    return values if len(values) <= _MAX_EXHAUSTIVE else None


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
    return (domain.values[0], domain.values[-1], *([min(numbers), max(numbers)] if numbers else ()))


def _overlap(path: Path, other: Path) -> bool:
    """Return whether one path leads to the other, or both are equal."""
    common = min(len(path), len(other))
    return path[:common] == other[:common]


def _path_named_in(message: str, parameters: Iterable[Parameter]) -> Path:
    """Return the path of the first parameter whose last key is a word of a message, empty if there is none."""
    words = re.findall(r"\w+", message)
    return next((parameter.path for parameter in parameters if parameter.path[-1] in words), ())
