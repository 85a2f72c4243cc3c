"""``first``: configurations to try before the search begins, as names or written nested and with bare values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search_spaces.errors import Mistake, MistakeList, Path, shown, unknown
from search_spaces.parameters import (
    Fixed,
    FloatRange,
    Fragments,
    Parameter,
    SchedulePart,
    is_number,
    with_changes,
)
from search_spaces.parsing.baselines import NAMED_BY, PublishedSettings
from search_spaces.parsing.schedules import schedule_part_values
from search_spaces.sections import MAX_FIRST


def read_first(
    raw: object,
    parameters: Sequence[Parameter],
    invalid_paths: Iterable[tuple[str, ...]],
    published: PublishedSettings,
    trainable: object,
) -> tuple[tuple[dict[str, Any], ...], list[Mistake]]:
    """Read the configurations to try first.

    Args:
        raw: the content of ``first``.
        parameters: the well-formed parameters.
        invalid_paths: paths of parameters with mistakes of their own; nothing is said about their values.
        published: configurations that can be named: a name stands for those of its settings that the parameters take.
        trainable: of the space; only its own configurations can be named.

    Returns:
        The values of each configuration by dotted name, and all mistakes.
    """
    if not isinstance(raw, list):
        return (), [Mistake(None, ("first",), f"must be a list of settings, not {shown(raw)}")]
    if len(raw) > MAX_FIRST:
        return (), [Mistake(None, ("first",), f"has {len(raw):,} configurations, and at most {MAX_FIRST:,} are taken")]
    reader = _Reader(parameters, {".".join(path) for path in invalid_paths})
    own = {name: settings for name, settings in published.items() if settings["trainable"] == trainable}
    for index, item in enumerate(raw):
        place = ("first", index)
        changes = {NAMED_BY: item} if isinstance(item, str) else item
        if not isinstance(changes, dict):
            message = f"must be a name or a mapping of settings, not {shown(item)}"
            reader.mistakes.append(Mistake(None, place, message))
        elif NAMED_BY not in changes:
            reader.read(place, {}, changes)
        elif (name := str(changes[NAMED_BY])) in own:
            reader.read(place, own[name], {key: value for key, value in changes.items() if key != NAMED_BY})
        else:
            where = place if isinstance(item, str) else (*place, NAMED_BY)
            message = unknown(f"published configuration of {trainable}", name, own)
            reader.mistakes.append(Mistake(None, where, message))
    return tuple(reader.points), reader.mistakes


class _Reader:
    def __init__(self, parameters: Sequence[Parameter], invalid_paths: set[str]) -> None:
        self._parameters = {parameter.name: parameter for parameter in parameters}
        self._schedules = {".".join(item.path[:-1]) for item in parameters if isinstance(item, SchedulePart)}
        self._invalid_paths = invalid_paths
        self._fixed = {item.name: item.domain.value for item in parameters if isinstance(item.domain, Fixed)}
        self._groups = {".".join(item.path[:end]) for item in parameters for end in range(1, len(item.path))}
        self.points: list[dict[str, Any]] = []
        self.mistakes = MistakeList()

    def read(self, place: Path, published: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        values: dict[str, Any] = {}
        changes = self._with_schedule_parts("", changes)
        self._flatten(
            place, "", with_changes(self._applicable("", self._with_schedule_parts("", published)), changes), values
        )
        every = {**self._fixed, **values}
        for name in list(values):
            message = self._effect_objection(name, every)
            if message and _has(changes, self._parameters[name].path):
                self.mistakes.append(Mistake(None, (*place, *self._parameters[name].path), message))
            elif message:  # a published setting that a change beside it leaves without effect
                del values[name]
        self.points.append({name: value for name, value in values.items() if name not in self._fixed})

    def _with_schedule_parts(self, prefix: str, nested: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings with every schedule as the values of its parts; a number is a constant schedule."""
        return {
            key: schedule_part_values(value)
            if prefix + key in self._schedules
            else self._with_schedule_parts(f"{prefix}{key}.", value)
            if isinstance(value, Mapping)
            else value
            for key, value in nested.items()
        }

    def _applicable(self, prefix: str, published: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of a published configuration's settings that there are parameters for."""
        applicable: dict[str, Any] = {}
        for key, value in published.items():
            name = prefix + key
            if name in self._parameters:
                applicable[key] = _as_group(self._parameters[name], value)
            elif isinstance(value, Mapping) and (below := self._applicable(f"{name}.", value)):
                applicable[key] = below
        return applicable

    def _flatten(self, place: Path, prefix: str, nested: Mapping[str, Any], values: dict[str, Any]) -> None:
        for key, value in nested.items():
            name = prefix + key
            if name in self._invalid_paths:
                continue
            if name in self._parameters:
                self._take((*place, key), self._parameters[name], value, values)
            elif isinstance(value, dict) and name in self._groups:
                self._flatten((*place, key), f"{name}.", value, values)
            else:
                self.mistakes.append(Mistake(None, (*place, key), unknown("parameter", name, self._parameters)))

    def _take(self, place: Path, parameter: Parameter, value: object, values: dict[str, Any]) -> None:
        if parameter.domain.holds(value):
            values[parameter.name] = (
                float(value) if isinstance(parameter.domain, FloatRange) and is_number(value) else value
            )
        else:
            self.mistakes.append(Mistake(None, place, f"must be {parameter.domain}, not {shown(value)}"))

    def _effect_objection(self, name: str, values: Mapping[str, Any]) -> str | None:
        for sibling, allowed in self._parameters[name].conditions.items():
            if sibling in values and values[sibling] not in allowed:
                return f"has no effect beside {sibling} = {shown(values[sibling])}: remove it"
        return None


def _has(nested: object, path: Sequence[str]) -> bool:
    """Return whether nested settings have a value at a path."""
    return not path or (isinstance(nested, Mapping) and path[0] in nested and _has(nested[path[0]], path[1:]))


def _as_group(parameter: Parameter, value: object) -> object:
    """Return the name of the group that a parameter has for a mapping of settings, or else the value itself."""
    groups = parameter.domain.settings if isinstance(parameter.domain, Fragments) else {}
    return next((name for name, settings in groups.items() if settings == value), value)
