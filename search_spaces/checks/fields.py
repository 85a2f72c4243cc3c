"""Whether a setting in a search-space file is a field of a configuration class, and takes the values given for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from search_spaces.errors import Mistake, Path, explain, is_consequence, nearest, shown, unknown
from search_spaces.parameters import leaf_values
from search_spaces.sections import deeper_keys, keys_of, submodel
from trainables.config.schedules import Schedule

# Settings that all runs of a sweep share, and where a space sets them.
SHARED_SETTINGS = {
    "dataset": "the top-level key dataset",
    "evaluation": "the top-level key evaluation",
    "compute": "budget.compute, or let it vary up to that",
    "seed": "search.seed",
    "trainable": "the top-level key trainable",
    "code": "the top-level key code",
}
_DOMAIN_KEYS = ("float", "int", "choice", "by")
_DOMAINS_OF_LISTS = {
    "float_type": "; a range is {float: [low, high]}",
    "int_type": "; a range is {int: [low, high]}",
    "literal_error": "; to choose among values write {choice: [...]}",
    "bool_type": "; to choose among values write {choice: [...]}",
    "string_type": "; to choose among values write {choice: [...]}",
}
"""What a list is probably meant to be where one value is expected, by pydantic's kind of error."""

Keys = tuple[str, ...]
"""The keys that lead to a field of a configuration."""
LocatedValues = Iterable[tuple[Path, Any]]
"""Values, each with its path in the file."""


def settings_mistakes(config: type[BaseModel], settings: Mapping[str, Any]) -> list[Mistake]:
    """Return what is wrong with the nested settings of one run.

    Args:
        config: the run's configuration class.
        settings: by field name, nested as the fields are; what is left out has its default.
    """
    mistakes = [
        mistake
        for path, value in leaf_values(settings)
        for mistake in value_mistakes(config, path, path, [(path, value)])
    ]
    return mistakes or [Mistake(None, path, message) for path, message in model_mistakes(config, settings)]


def recipe_value_mistakes(config: type[BaseModel], path: Keys, place: Path, values: LocatedValues) -> Iterator[Mistake]:
    """Check like `value_mistakes`, and refuse the settings that all runs of a sweep share (`SHARED_SETTINGS`)."""
    if path[0] in SHARED_SETTINGS:
        message = f"is the same for all runs of a sweep: set it under {SHARED_SETTINGS[path[0]]}"
        yield Mistake(None, place[: len(place) - len(path) + 1], message)
    else:
        yield from value_mistakes(config, path, place, values)


def value_mistakes(config: type[BaseModel], path: Keys, place: Path, values: LocatedValues) -> Iterator[Mistake]:
    """Check that a path leads to a field that takes a value, and that the field takes these values.

    Args:
        config: the configuration class that the path begins in.
        path: the keys of the field.
        place: path of the setting in the file; it ends with `path`.
        values: what the setting may be.
    """
    model = config
    for depth, key in enumerate(path, start=1):
        here = place[: len(place) - len(path) + depth]
        if key not in model.model_fields:
            valid = [*keys_of(model), *(_DOMAIN_KEYS if issubclass(model, Schedule) else ())]
            deeper = deeper_keys(model, key) if depth == 1 else ()
            yield Mistake(None, here, unknown("key", key, valid, deeper))
            return
        inner = submodel(model, key)
        if depth == len(path):
            break
        if inner is None and is_open(model, key):
            yield from _open_mistakes(model, path[depth - 1 :], place, values)
            return
        if inner is None:
            hint = nearest(path[depth], _DOMAIN_KEYS)
            message = "takes a value, {float: [low, high]}, {int: [low, high]} or {choice: [...]}"
            yield Mistake(None, here, f"{message}, not a mapping with the key {shown(path[depth])}{hint}")
            return
        model = inner
    if inner is not None and not issubclass(inner, Schedule):
        if values and [value for _, value in values] != [{}]:
            yield Mistake(None, place, f"must be a mapping with keys of these: {', '.join(keys_of(inner))}")
        return
    for where, value in values:
        yield from _field_mistakes(model, path[-1], where, value)


def is_open(model: type[BaseModel], key: str) -> bool:
    """Return whether a key of a model takes a mapping whose keys the model does not know: settings of a plug-in."""
    return get_origin(model.model_fields[key].annotation) is dict


def _open_mistakes(model: type[BaseModel], path: Keys, place: Path, values: LocatedValues) -> Iterator[Mistake]:
    """Check values below such a key; what the plug-in says of them, the model says of all of its settings together."""
    key, *below = path
    for where, value in values:
        for name in reversed(below):
            value = {name: value}  # noqa: PLW2901 - the mapping that it stands in
        wrong = next(
            (details for details in _validation_errors(model, {key: value}) if details["loc"][:1] == (key,)), None
        )
        if wrong is not None:
            yield Mistake(None, where or place, explain(wrong))


def _field_mistakes(model: type[BaseModel], key: str, place: Path, value: object) -> Iterator[Mistake]:
    for details in _validation_errors(model, {key: value}):
        if details["loc"][:1] == (key,) and not is_consequence(details):
            is_list = place[:1] == ("parameters",) and details["loc"] == (key,) and isinstance(value, list)
            hint = _DOMAINS_OF_LISTS.get(details["type"], "") if is_list else ""
            yield Mistake(None, (*place, *details["loc"][1:]), explain(details) + hint)


def model_mistakes(config: type[BaseModel], settings: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield what a configuration class refuses in settings whose values are each valid alone, as path and message.

    A path leads to the model that refuses its fields together; it is empty for the configuration itself. Mistakes of
    single fields are left out: `value_mistakes` finds them.
    """
    for details in _validation_errors(config, settings):
        model: type[BaseModel] | None = config
        for key in details["loc"]:
            model = submodel(model, str(key)) if model else None
        if model and details["type"] == "value_error":
            yield details["loc"], explain(details)
        elif details["type"] == "missing":  # only a schedule has required fields
            yield details["loc"][:-1], f"{details['loc'][-1]} {explain(details)}"


def _validation_errors(model: type[BaseModel], settings: Mapping[str, Any]) -> list[ErrorDetails]:
    try:
        # As JSON, because strict validation then still takes a list for a tuple.
        model.model_validate_json(json.dumps(settings), strict=True)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []
