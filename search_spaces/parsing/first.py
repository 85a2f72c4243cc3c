"""``first``: configurations to try before the search begins, as names or written nested and with bare values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from search_spaces.errors import Mistake, MistakeList, Path, shown, unknown
from search_spaces.parameters import (
    Alternative,
    Fixed,
    FloatRange,
    Fragments,
    Parameter,
    SchedulePart,
    is_number,
    leaf_values,
    put,
    settings_of,
    with_changes,
)
from search_spaces.parsing.alternatives import ABOVE_ZERO, IS_ZERO
from search_spaces.parsing.baselines import NAMED_BY, PublishedSettings
from search_spaces.parsing.bundles import BUNDLE, Bundles
from search_spaces.parsing.schedules import schedule_part_values
from search_spaces.sections import MAX_FIRST
from trainables.errors import UserError


def read_first(
    raw: object,
    parameters: Sequence[Parameter],
    invalid_paths: Iterable[tuple[str, ...]],
    published: PublishedSettings,
    trainable: object,
    bundles: Bundles,
) -> tuple[tuple[dict[str, Any], ...], list[Mistake]]:
    """Read the configurations to try first.

    Args:
        raw: the content of ``first``.
        parameters: the well-formed parameters.
        invalid_paths: paths of parameters with mistakes of their own; nothing is said about their values.
        published: configurations that can be named: a name stands for those of its settings that the parameters take.
        trainable: of the space; only its own configurations can be named.
        bundles: that can be named. A bundle has to fit: a setting of it that a trial would not have is a mistake.

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
        elif BUNDLE in changes:
            reader.read_bundle(place, bundles, changes, trainable)
        elif NAMED_BY not in changes:
            reader.read(place, {}, changes)
        elif (name := str(changes[NAMED_BY])) in own:
            reader.read(place, own[name], {key: value for key, value in changes.items() if key != NAMED_BY})
        else:
            where = place if isinstance(item, str) else (*place, NAMED_BY)
            message = unknown(f"published configuration of {trainable}", name, own)
            reader.mistakes.append(Mistake(None, where, message))
    return tuple(reader.points), reader.mistakes


_MISSING = object()


class _Reader:
    def __init__(self, parameters: Sequence[Parameter], invalid_paths: set[str]) -> None:
        self._parameters = {parameter.name: parameter for parameter in parameters}
        self._schedules = {".".join(item.path[:-1]) for item in parameters if isinstance(item, SchedulePart)}
        self._alternatives: dict[str, list[Alternative]] = {}
        for item in parameters:
            if isinstance(item, Alternative):
                self._alternatives.setdefault(".".join(item.common), []).append(item)
        self._invalid_paths = invalid_paths
        self._fixed = {item.name: item.domain.value for item in parameters if isinstance(item.domain, Fixed)}
        self._groups = {".".join(item.path[:end]) for item in parameters for end in range(1, len(item.path))}
        self.points: list[dict[str, Any]] = []
        self.mistakes = MistakeList()

    def read_bundle(self, place: Path, bundles: Bundles, item: Mapping[str, Any], trainable: object) -> None:
        """Read a configuration that is that of a bundle, with changes beside it."""
        changes = {key: value for key, value in item.items() if key != BUNDLE}
        where = (*place, BUNDLE)
        if NAMED_BY in changes:
            self.mistakes.append(Mistake(None, (*place, NAMED_BY), f"{BUNDLE} names a configuration too: remove one"))
            return
        bundle = bundles.settings(where, item[BUNDLE], self.mistakes)
        if bundle is None:
            return
        if bundle["trainable"] != trainable:
            message = f"is a run of {bundle['trainable']}, and {trainable} is searched: it can be one of the baselines"
            self.mistakes.append(Mistake(None, where, message))
            return
        before = len(self.mistakes)
        self.read(place, bundles.own(bundle), changes, in_part=True)
        if len(self.mistakes) > before:
            return
        values = self.points[-1]
        try:
            settings = settings_of(self._parameters.values(), lambda parameter: values[parameter.name])
            different = list(bundles.left_out(bundle, changes, settings))
        except (KeyError, UserError):  # parameters that are mistakes by themselves, which others tell
            return
        for name, theirs, ours in different:
            message = f"{name} is {shown(theirs)} there and {shown(ours)} in this space: let it vary under parameters"
            self.mistakes.append(Mistake(None, where, message))

    def read(
        self, place: Path, published: Mapping[str, Any], changes: Mapping[str, Any], *, in_part: bool = False
    ) -> None:
        """Read a configuration.

        Args:
            place: in the file.
            published: nested settings, of which those count that there are parameters for.
            changes: nested settings over them, for each of which there must be a parameter.
            in_part: a group of settings is named by settings that hold more than the group.
        """
        values: dict[str, Any] = {}
        published = self._with_groups(published, changes, in_part=in_part)
        together = with_changes(published, changes)
        changes = self._with_parts("", changes, together)
        own = self._applicable("", self._with_parts("", published, together))
        self._flatten(place, "", with_changes(own, changes), values)
        every = {**self._fixed, **values}
        for name in list(values):
            message = self._effect_objection(name, every)
            if message and _has(changes, self._parameters[name].path):
                self.mistakes.append(Mistake(None, (*place, *self._parameters[name].path), message))
            elif message:  # a published setting that a change beside it leaves without effect
                del values[name]
        self.points.append({name: value for name, value in values.items() if name not in self._fixed})

    def _with_groups(
        self, published: Mapping[str, Any], changes: Mapping[str, Any], *, in_part: bool
    ) -> Mapping[str, Any]:
        """Return a published configuration with the name of each named group in place of its settings.

        Of a group that varies inside it is the name with the settings below it. Where the changes name another group,
        nothing is left of it.
        """
        settings = deepcopy(dict(published))
        for item in self._parameters.values():
            value = _value_at(settings, item.path)
            if not isinstance(item.domain, Fragments) or not isinstance(value, Mapping):
                continue
            name = item.domain.name_of(value, in_part=in_part)
            if name is not None:
                own = {other.setting for other in item.domain.inside.get(name, ()) if other.varies}
                below: dict[str, Any] = {}
                for path, inner in leaf_values(value):
                    if path in own:
                        put(below, path, inner)
                changed = _value_at(changes, item.path)
                other = isinstance(changed, Mapping) and list(changed) != [name]
                put(settings, item.path, {} if other else {name: below} if below else name)
        return settings

    def _with_parts(self, prefix: str, nested: Mapping[str, Any], together: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings with each one that several parameters decide as the values of these.

        Args:
            prefix: name of the group that the settings are in, with a dot behind it.
            nested: the settings; where a schedule is, a number is a constant one.
            together: those of the whole configuration.
        """
        parts: dict[str, Any] = {}
        for key, value in nested.items():
            name = prefix + key
            if name in self._schedules:
                parts[key] = schedule_part_values(value)
            elif isinstance(value, Mapping):
                parts[key] = self._with_parts(f"{name}.", value, together)
            else:
                parts[key] = self._alternative_values(name, value, together) if name in self._alternatives else value
        return parts

    def _alternative_values(self, name: str, value: object, together: Mapping[str, Any]) -> Any:
        """Return the values of the parameters that decide a setting of that value: those that its siblings let be used.

        Where a sibling is left to the search, each case that holds the value gets it.
        """
        length = len(name.split("."))
        cases: dict[tuple[str, ...], list[Alternative]] = {}
        for item in self._alternatives[name]:
            below = item.path[length:]
            cases.setdefault(below[:-1] if below[-1:] in ((IS_ZERO,), (ABOVE_ZERO,)) else below, []).append(item)
        if () in cases and not cases[()][0].is_zero:
            return value  # of a setting in a named group that one parameter decides
        possible = {case: items for case, items in cases.items() if self._may_be_used(items[0], together)}
        holding = {case: items for case, items in possible.items() if any(item.gives(value) for item in items)}
        parts: dict[str, Any] = {}
        for case, items in (holding or dict(list((possible or cases).items())[:1])).items():
            if items[0].is_zero:
                put(parts, (*case, IS_ZERO), value == 0)
            if not items[0].is_zero or value != 0:
                put(parts, (*case, ABOVE_ZERO) if items[0].is_zero else case, value)
        return parts

    def _may_be_used(self, item: Alternative, together: Mapping[str, Any]) -> bool:
        """Return whether the values of siblings, as far as they are known, let a parameter be used."""
        for name, values in item.conditions.items():
            found = _value_at(together, name.split("."))
            found = self._fixed.get(name, _MISSING) if found is _MISSING else found
            if isinstance(found, Mapping):  # a group with settings below its name
                found = next(iter(found), _MISSING)
            if found is not _MISSING and found not in values:
                return False
        return True

    def _applicable(self, prefix: str, published: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of a published configuration's settings that there are parameters for."""
        applicable: dict[str, Any] = {}
        for key, value in published.items():
            name = prefix + key
            if name in self._parameters:
                applicable[key] = value
            elif isinstance(value, Mapping) and (below := self._applicable(f"{name}.", value)):
                applicable[key] = below
        return applicable

    def _flatten(self, place: Path, prefix: str, nested: Mapping[str, Any], values: dict[str, Any]) -> None:
        for key, value in nested.items():
            name = prefix + key
            if name in self._invalid_paths:
                continue
            if name in self._parameters and (group := self._group_of(self._parameters[name], value)):
                values[name] = group
                self._flatten((*place, key, group), f"{name}.{group}.", value[group], values)
            elif name in self._parameters:
                self._take((*place, key), self._parameters[name], value, values)
            elif isinstance(value, dict) and name in self._groups:
                self._flatten((*place, key), f"{name}.", value, values)
            else:
                self.mistakes.append(Mistake(None, (*place, key), unknown("parameter", name, self._parameters)))

    def _group_of(self, parameter: Parameter, value: Any) -> str | None:
        """Return the name of the group whose settings stand below its name; None if it is anything else."""
        if not isinstance(parameter.domain, Fragments) or not isinstance(value, Mapping) or len(value) != 1:
            return None
        ((name, below),) = value.items()
        return name if name in parameter.domain.inside and isinstance(below, Mapping) else None

    def _take(self, place: Path, parameter: Parameter, value: object, values: dict[str, Any]) -> None:
        if parameter.domain.holds(value):
            values[parameter.name] = (
                parameter.domain.nearest(value)
                if isinstance(parameter.domain, FloatRange) and is_number(value)
                else value
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
    return _value_at(nested, path) is not _MISSING


def _value_at(nested: Any, path: Sequence[str]) -> Any:
    """Return the value at a path of nested settings, `_MISSING` if there is none."""
    for key in path:
        nested = nested.get(key, _MISSING) if isinstance(nested, Mapping) else _MISSING
    return nested
