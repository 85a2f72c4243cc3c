"""``first``: configurations to try before the search begins, written nested and with bare values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search_spaces.mistakes import Mistake, Path
from search_spaces.parameters import Fixed, FloatRange, Parameter, is_number, same
from search_spaces.wording import shown, unknown


def read_first(
    raw: object, parameters: Sequence[Parameter], unsound: Iterable[tuple[str, ...]]
) -> tuple[tuple[dict[str, Any], ...], list[Mistake]]:
    """Return the values by dotted name of every configuration to try first, and what is wrong with them.

    Args:
        raw: what stands under ``first``.
        parameters: the well-formed parameters.
        unsound: paths of parameters with mistakes of their own; nothing is said about their values.
    """
    if not isinstance(raw, list):
        return (), [Mistake(None, ("first",), f"must be a list of settings, not {shown(raw)}")]
    reader = _Reader(parameters, {".".join(path) for path in unsound})
    for index, item in enumerate(raw):
        if isinstance(item, dict):
            reader.read(("first", index), item)
        else:
            reader.mistakes.append(Mistake(None, ("first", index), f"must be a mapping of settings, not {shown(item)}"))
    return tuple(reader.points), reader.mistakes


class _Reader:
    def __init__(self, parameters: Sequence[Parameter], unsound: set[str]) -> None:
        self._parameters = {parameter.name: parameter for parameter in parameters}
        self._unsound = unsound
        self.points: list[dict[str, Any]] = []
        self.mistakes: list[Mistake] = []

    def read(self, place: Path, nested: Mapping[str, Any]) -> None:
        values: dict[str, Any] = {}
        self._flatten(place, "", nested, values)
        fixed = {name: one.domain.value for name, one in self._parameters.items() if isinstance(one.domain, Fixed)}
        for name in values:
            self._check_condition(place, name, {**fixed, **values})
        self.points.append({name: value for name, value in values.items() if name not in fixed})

    def _flatten(self, place: Path, prefix: str, nested: Mapping[str, Any], values: dict[str, Any]) -> None:
        for key, value in nested.items():
            name = prefix + key
            if name in self._unsound:
                continue
            if name in self._parameters:
                self._take((*place, key), self._parameters[name], value, values)
            elif isinstance(value, dict) and any(other.startswith(f"{name}.") for other in self._parameters):
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

    def _check_condition(self, place: Path, name: str, values: Mapping[str, Any]) -> None:
        for path, allowed in self._parameters[name].when:
            sibling = ".".join(path)
            if sibling in values and not any(same(values[sibling], value) for value in allowed):
                message = f"has no effect beside {sibling} = {shown(values[sibling])}: remove it"
                self.mistakes.append(Mistake(None, (*place, *self._parameters[name].path), message))
