"""That a search space's keys are fields of its trainable, and its values within their bounds.

What is found is added to the mistakes of the grammar, so that a person sees one list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from itertools import chain, combinations, product
from typing import Any

from pydantic import BaseModel, ValidationError

from search_spaces.checks.metrics import metric_mistakes
from search_spaces.checks.schedules import schedule_mistakes
from search_spaces.errors import Mistake, Path, nearest, plain, shown, unknown
from search_spaces.parameters import (
    Fixed,
    FloatRange,
    Fragments,
    IntRange,
    Parameter,
    SchedulePart,
    is_number,
    put,
    settings_of,
)
from search_spaces.parsing.reader import Draft
from search_spaces.sections import Baseline, keys_of, submodel
from trainables.config import CONFIGURATIONS, TrainingConfig
from trainables.published import PUBLISHED
from trainables.schedules import Schedule

# What all runs of a sweep share, and where a space says it.
_ELSEWHERE = {
    "dataset": "the top-level key dataset",
    "evaluation": "the top-level key evaluation",
    "compute": "budget.compute, or let it vary up to that",
    "seed": "search.seed",
    "trainable": "the top-level key trainable",
}
# What a space can name, without what all runs of its sweep share.
KNOWN = {
    name: {key: value for key, value in one.settings.items() if key == "trainable" or key not in _ELSEWHERE}
    for name, one in PUBLISHED.items()
}
# What a baseline takes over from the parameters that a space fixes, so that the comparison is of recipes alone.
_SHARED_WITH_BASELINES = (("classifier", "architecture"), ("batch_size",))
_VARYING = ("float", "int", "choice")
# So many values of an int range are looked at one by one: as many as there are labels.
_FEW = 10

Keys = tuple[str, ...]
Placed = Iterable[tuple[Path, Any]]  # values, each with where it stands in the file


def field_mistakes(draft: Draft) -> list[Mistake]:
    """Return what in a file does not fit the settings of its trainable and of its baselines."""
    mistakes = [*metric_mistakes(draft), *_shared_section_mistakes(draft)]
    trainable = draft.data.get("trainable")
    if isinstance(trainable, str) and trainable in CONFIGURATIONS:
        mistakes += _parameter_mistakes(CONFIGURATIONS[trainable], draft)
        mistakes += _whole_mistakes(CONFIGURATIONS[trainable], draft, mistakes)
    elif isinstance(trainable, str):
        mistakes.append(Mistake(None, ("trainable",), unknown("trainable", trainable, CONFIGURATIONS)))
    for index, baseline in draft.baselines.items():
        mistakes += _baseline_mistakes(draft, ("baselines", index), baseline)
    return mistakes


def settings_mistakes(config: type[BaseModel], settings: Mapping[str, Any]) -> list[Mistake]:
    """Return what in the nested settings of one run does not fit its configuration class."""
    mistakes = [
        mistake for path, value in _leaves((), settings) for mistake in _check(config, path, path, [(path, value)])
    ]
    return mistakes or [Mistake(None, path, message) for path, message in _model_errors(config, settings)]


def baseline_settings(parameters: Iterable[Parameter], baseline: Baseline) -> dict[str, Any]:
    """Return the nested settings of a baseline: what it shares with a space's trials, and its own overrides."""
    settings: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.path in _SHARED_WITH_BASELINES and isinstance(parameter.domain, Fixed):
            put(settings, parameter.path, parameter.domain.value)
    for path, value in _leaves((), baseline.settings):
        put(settings, path, value)
    return settings


def _shared_section_mistakes(draft: Draft) -> Iterator[Mistake]:
    for key in ("dataset", "evaluation"):
        for path, value in _leaves((key,), draft.section(key)):
            yield from _check(TrainingConfig, path, path, [(path, value)])


def _parameter_mistakes(config: type[BaseModel], draft: Draft) -> Iterator[Mistake]:
    for parameter in draft.parameters:
        if isinstance(parameter, SchedulePart):
            unfit = list(_check_own(config, parameter.path[:-1], parameter.place, []))
            yield from unfit or schedule_mistakes(config, parameter, next(_values(parameter))[-1])
            continue
        if parameter.path == ("report_every",) and parameter.varies:
            message = "must be fixed: trials are compared at the same reports"
            yield Mistake(None, ("parameters", *parameter.path), message)
        if parameter.path == ("compute",) and parameter.varies:
            yield from _compute_mistakes(parameter, draft)
            continue
        for path, place, values in _values(parameter):
            yield from _check_own(config, path, place, values)
    for path in draft.invalid_paths:
        if all(key.isidentifier() for key in path):
            yield from _check_own(config, path, ("parameters", *path), [])


def _compute_mistakes(parameter: Parameter, draft: Draft) -> Iterator[Mistake]:
    """Check a compute that trials choose themselves: within the budget, which the baselines spend."""
    most = _shared(draft).get("compute")
    for path, place, values in _values(parameter):
        yield from _check(TrainingConfig, path, place, values)
        for where, value in values:
            if is_number(value) and is_number(most) and value > most:
                message = f"must not be above budget.compute ({most:g}), which the baselines spend, and is {value:g}"
                yield Mistake(None, where, message)


def _baseline_mistakes(draft: Draft, place: Path, baseline: Baseline) -> Iterator[Mistake]:
    if baseline.trainable not in CONFIGURATIONS:
        is_name = isinstance(draft.data["baselines"][place[1]], str)
        valid = [*CONFIGURATIONS, *KNOWN] if is_name else CONFIGURATIONS
        yield Mistake(None, place, unknown("trainable", baseline.trainable, valid))
        return
    config = CONFIGURATIONS[baseline.trainable]
    mistakes = [
        mistake
        for path, value in _leaves((), baseline.settings)
        for mistake in _check_own(config, path, (*place, *path), [((*place, *path), value)])
    ]
    yield from mistakes
    if not mistakes:
        settings = {**baseline_settings(draft.parameters, baseline), **_shared(draft)}
        yield from (Mistake(None, place, message) for _, message in _model_errors(config, settings))


def _leaves(path: Keys, nested: Mapping[str, Any]) -> Iterator[tuple[Keys, Any]]:
    for key, value in nested.items():
        if isinstance(value, dict):
            yield from _leaves((*path, key), value)
        else:
            yield (*path, key), value


def _values(parameter: Parameter) -> Iterator[tuple[Keys, Path, Placed]]:
    """Yield the settings that a parameter decides, where each stands, and the values that stand for all it can be."""
    path, place, domain = parameter.path, parameter.place, parameter.domain
    if isinstance(domain, Fixed):
        yield path, place, [(place, domain.value)]
    elif isinstance(domain, FloatRange | IntRange):
        kind = "float" if isinstance(domain, FloatRange) else "int"
        yield path, place, [((*place, kind, 0), domain.low), ((*place, kind, 1), domain.high)]
    elif isinstance(domain, Fragments):
        for name, group in domain.settings.items():
            for keys, value in _leaves((), group):
                inner = (*place, "choice", name, *keys)
                yield (*path, *keys), inner, [(inner, value)]
    else:
        yield path, place, [((*place, "choice", index), value) for index, value in enumerate(domain.values)]


def _check_own(config: type[BaseModel], path: Keys, place: Path, values: Placed) -> Iterator[Mistake]:
    """Check a setting of one recipe, which must be none of those that all runs share."""
    if path[0] in _ELSEWHERE:
        message = f"is the same for all runs of a sweep: set it under {_ELSEWHERE[path[0]]}"
        yield Mistake(None, place[: len(place) - len(path) + 1], message)
    else:
        yield from _check(config, path, place, values)


def _check(config: type[BaseModel], path: Keys, place: Path, values: Placed) -> Iterator[Mistake]:
    """Check that a path leads to a field that takes a value, and that it takes these.

    Args:
        config: the configuration that the path begins in.
        path: the keys.
        place: where the setting stands in the file; its end is the path's.
        values: what it may become.
    """
    model = config
    for depth, key in enumerate(path, start=1):
        here = place[: len(place) - len(path) + depth]
        if key not in model.model_fields:
            valid = [*keys_of(model), *(_VARYING if issubclass(model, Schedule) else ())]
            yield Mistake(None, here, unknown("key", key, valid))
            return
        inner = submodel(model, key)
        if depth == len(path):
            break
        if inner is None:
            hint = nearest(path[depth], _VARYING)
            message = "takes a value, {float: [low, high]}, {int: [low, high]} or {choice: [...]}"
            yield Mistake(None, here, f"{message}, not a mapping with the key {shown(path[depth])}{hint}")
            return
        model = inner
    if inner is not None and not issubclass(inner, Schedule):
        yield Mistake(None, place, f"must be a mapping with keys of these: {', '.join(keys_of(inner))}")
        return
    for where, value in values:
        yield from _value_mistakes(model, path[-1], where, value)


def _value_mistakes(model: type[BaseModel], key: str, place: Path, value: object) -> Iterator[Mistake]:
    # As JSON, because strictness then still takes a list for a tuple.
    for details in _errors(model, json.dumps({key: value})):
        if details["loc"][:1] == (key,):
            yield Mistake(None, (*place, *details["loc"][1:]), plain(details))


def _errors(model: type[BaseModel], text: str) -> list[Any]:
    try:
        model.model_validate_json(text, strict=True)
    except ValidationError as error:
        return list(error.errors(include_url=False))
    return []


def _whole_mistakes(config: type[BaseModel], draft: Draft, known: Iterable[Mistake]) -> Iterator[Mistake]:
    """Check what no field can see alone: where all ranges end and then, up to a first mistake, two values at a time."""
    wrong = [mistake.path for mistake in known]
    sound = [one for one in draft.parameters if not any(_related(("parameters", *one.path), path) for path in wrong)]
    found = False
    for end, chosen in chain([(0, {}), (-1, {})], ((0, pair) for pair in _pairs(sound))):
        if found and chosen:
            return
        settings = settings_of(sound, lambda one, end=end, chosen=chosen: chosen.get(one.name, _end(one, end)))  # type: ignore[misc]
        for loc, message in _model_errors(config, {**_shared(draft), **settings}):
            if any(_related(("parameters", *loc), path) for path in wrong if loc):
                continue
            found = True
            yield Mistake(None, ("parameters", *(loc or _culprit(sound, message))), message)


def _pairs(parameters: Iterable[Parameter]) -> Iterator[dict[str, object]]:
    """Yield by name what any two parameters can be together, with what their conditions ask for."""
    varying = [one for one in parameters if one.varies]
    for one, other in combinations(varying, 2):
        asked: dict[str, list[object]] = {}
        for path, values in (*one.when, *other.when):
            name = ".".join(path)
            asked[name] = [value for value in values if value in asked.get(name, values)] or list(values)
        met = {name: values[0] for name, values in asked.items()}
        for value, second in product(_some_values(one), _some_values(other)):
            yield {**met, one.name: value, other.name: second}


def _some_values(parameter: Parameter) -> Iterable[object]:
    """Return all values of a choice or a short range, and the ends of a long one."""
    domain = parameter.domain
    if isinstance(domain, IntRange) and domain.high - domain.low < _FEW:
        return range(domain.low, domain.high + 1)
    if isinstance(domain, FloatRange | IntRange | Fixed):
        return (_end(parameter, 0), _end(parameter, -1))
    return domain.values


def _shared(draft: Draft) -> dict[str, Any]:
    budget = draft.section("budget")
    return {"compute": budget["compute"]} if "compute" in budget else {}


def _related(path: Path, other: Path) -> bool:
    common = min(len(path), len(other))
    return path[:common] == other[:common]


def _end(parameter: Parameter, end: int) -> object:
    domain = parameter.domain
    if isinstance(domain, FloatRange | IntRange):
        return (domain.low, domain.high)[end]
    return deepcopy(domain.value) if isinstance(domain, Fixed) else domain.values[end]


def _model_errors(config: type[BaseModel], settings: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the objections of whole models; those of single fields are found, and told, one by one."""
    for details in _errors(config, json.dumps(settings)):
        model: type[BaseModel] | None = config
        for key in details["loc"]:
            model = submodel(model, str(key)) if model else None
        if model and details["type"] == "value_error":
            yield details["loc"], plain(details)
        elif details["type"] == "missing":  # only a schedule has what must be there
            yield details["loc"][:-1], f"{details['loc'][-1]} {plain(details)}"


def _culprit(parameters: Iterable[Parameter], message: str) -> Path:
    """Return the path of the first parameter that a message names, for its line."""
    words = re.findall(r"\w+", message)
    return next((one.path for one in parameters if one.path[-1] in words), ())
