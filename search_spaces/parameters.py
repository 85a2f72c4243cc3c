"""Parameters of a search space: a fixed value, a range or a choice each, and the conditions under which it is used."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeGuard

from search_spaces.errors import shown

Condition = tuple[tuple[str, ...], tuple[Any, ...]]  # the path of a sibling, and the values of which it must have one


def same(value: object, other: object) -> bool:
    """Return whether two values are the same in a file, where ``true`` is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is an int or a float, which a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class Values:
    """Values of a file as a set with the order of the file; see `same` for which are equal.

    Args:
        values: of any kind; those that a condition or a choice can name are numbers, texts, booleans and null.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = {(isinstance(value, bool), value): value for value in values if isinstance(value, Hashable)}

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Hashable) and (isinstance(value, bool), value) in self._values

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values.values())


@dataclass(frozen=True)
class Fixed:
    """One value in every trial."""

    value: Any

    @property
    def values(self) -> tuple[Any, ...]:
        """The one value."""
        return (self.value,)

    def holds(self, value: object) -> bool:
        """Return whether it is the fixed value."""
        return same(value, self.value)

    def __str__(self) -> str:
        return shown(self.value)


def num_steps(low: float, value: float, step: float) -> int | None:
    """Return how many steps lead from `low` to a value; None if no whole number does, but for rounding."""
    steps = (value - low) / step
    return round(steps) if abs(steps - round(steps)) < _STEP_TOLERANCE else None


def after_steps(low: float, number: int, step: float) -> float:
    """Return the number that some steps lead to, in decimals, in which Optuna counts steps."""
    return float(Decimal(str(low)) + number * Decimal(str(step)))


_STEP_TOLERANCE = 1e-8  # Optuna's


@dataclass(frozen=True)
class FloatRange:
    """A real number from low to high, drawn evenly or, with `log`, evenly in its logarithm; or every `step`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def points(self) -> tuple[float, ...] | None:
        """All values, from low to high; None without a step."""
        if self.step is None:
            return None
        last = num_steps(self.low, self.high, self.step) or 0
        return tuple(after_steps(self.low, number, self.step) for number in range(last + 1))

    def holds(self, value: object) -> bool:
        """Return whether a number lies in the range, ends included, and but for rounding on a step."""
        if not is_number(value):
            return False
        if self.step is None:
            return self.low <= value <= self.high
        number = num_steps(self.low, value, self.step)
        return number is not None and 0 <= number <= (num_steps(self.low, self.high, self.step) or 0)

    def nearest(self, value: float) -> float:
        """Return a number that the range holds as the range has it: rounded to its step."""
        if self.step is None:
            return float(value)
        return after_steps(self.low, num_steps(self.low, value, self.step) or 0, self.step)

    def __str__(self) -> str:
        every = "" if self.step is None else f" in steps of {self.step:g}"
        return f"a number in [{self.low:g}, {self.high:g}]{every}"


@dataclass(frozen=True)
class IntRange:
    """A whole number from low to high, drawn evenly or, with `log`, evenly in its logarithm; or every `step`."""

    low: int
    high: int
    log: bool = False
    step: int | None = None

    @property
    def points(self) -> range:
        """All values, from low to high."""
        return range(self.low, self.high + 1, self.step or 1)

    @property
    def num_points(self) -> int:
        """Number of all values, however many."""
        return (self.high - self.low) // (self.step or 1) + 1

    def holds(self, value: object) -> bool:
        """Return whether a whole number lies in the range, ends included."""
        return isinstance(value, int) and not isinstance(value, bool) and value in self.points

    def __str__(self) -> str:
        every = "" if self.step is None else f" in steps of {self.step}"
        return f"a whole number in [{self.low}, {self.high}]{every}"


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    @cached_property
    def _every(self) -> Values:
        return Values(self.values)

    def holds(self, value: object) -> bool:
        """Return whether it is one of the values."""
        return value in self._every

    def __str__(self) -> str:
        return f"one of {', '.join(map(shown, self.values))}"


@dataclass(frozen=True)
class Fragments:
    """One of several named groups of settings; the name is what is chosen.

    Attributes:
        settings: the fixed settings of each group.
        inside: for each group in which something varies, the parameters of all its settings, with the keys that lead
            to them inside the group.
    """

    settings: Mapping[str, Mapping[str, Any]]
    inside: Mapping[str, tuple[Alternative, ...]] = field(default_factory=dict)

    @property
    def values(self) -> tuple[str, ...]:
        """The names to choose from."""
        return tuple(self.settings)

    def holds(self, value: object) -> bool:
        """Return whether it is one of the names."""
        return isinstance(value, str) and value in self.settings

    def name_of(self, settings: object, *, in_part: bool) -> str | None:
        """Return the first group that settings can come from; None if there is none.

        Args:
            settings: nested; those of a group that may vary have any value that the group lets them have.
            in_part: the settings may hold more than the group does.
        """
        return next((name for name in self.settings if self._fits(name, settings, in_part=in_part)), None)

    def _fits(self, name: str, settings: object, *, in_part: bool) -> bool:
        if not isinstance(settings, Mapping):
            return False
        allowed: dict[tuple[str, ...], list[Alternative]] = {}
        for parameter in self.inside.get(name, ()):
            allowed.setdefault(parameter.setting, []).append(parameter)
        others: dict[str, Any] = {}
        for path, value in leaf_values(settings):
            if path not in allowed:
                put(others, path, value)
            elif not any(parameter.gives(value) for parameter in allowed[path]):
                return False
        fixed: dict[str, Any] = {}
        for path, value in leaf_values(self.settings[name]):
            if path not in allowed:
                put(fixed, path, value)
        return contains(others, fixed) if in_part else others == fixed

    def __str__(self) -> str:
        return f"one of {', '.join(self.values)}"


Domain = Fixed | FloatRange | IntRange | Choice | Fragments


@dataclass(frozen=True)
class Parameter:
    """One setting of the trainable in a search space.

    Attributes:
        path: the keys that lead to it in the trainable's settings.
        domain: the values that it may have.
        when: the conditions that must all hold for it to be used.
        prior: the value that early trials are drawn around, alone in a tuple; empty if there is none.
    """

    path: tuple[str, ...]
    domain: Domain
    when: tuple[Condition, ...] = ()
    prior: tuple[Any, ...] = field(default=(), kw_only=True)

    @property
    def name(self) -> str:
        """The path with dots: ``generator.learning_rate``."""
        return ".".join(self.path)

    @property
    def place(self) -> tuple[str, ...]:
        """The keys that lead to it in a file."""
        return ("parameters", *self.path)

    @property
    def setting(self) -> tuple[str, ...]:
        """The keys that lead to the setting that it decides, alone or with other parameters."""
        return self.path

    @property
    def varies(self) -> bool:
        """Whether a trial chooses its value."""
        return not isinstance(self.domain, Fixed)

    @cached_property
    def conditions(self) -> Mapping[str, Values]:
        """The values that other parameters must have for this one to be used, by their names."""
        required: dict[str, Values] = {}
        for path, values in self.when:
            name = ".".join(path)
            both = [value for value in values if name not in required or value in required[name]]
            required[name] = Values(both)
        return required

    def active(self, chosen: Mapping[str, Any]) -> bool:
        """Return whether all conditions hold for the values chosen so far, by name; an absent sibling meets none."""
        return all(name in chosen and chosen[name] in values for name, values in self.conditions.items())


@dataclass(frozen=True)
class SchedulePart(Parameter):
    """One part of a schedule: its kind, its moments, or one of its values.

    Attributes:
        number: which of the values it is, from 1; 0 for the kind and the moments.
    """

    number: int = 0

    @property
    def place(self) -> tuple[str, ...]:
        """The keys that lead to the schedule in a file, where it is one entry."""
        return ("parameters", *self.path[:-1])

    @property
    def setting(self) -> tuple[str, ...]:
        """The keys that lead to the setting that changes over the run."""
        return self.path[:-1]


@dataclass(frozen=True)
class Alternative(Parameter):
    """One of several parameters that decide a setting, of which a trial uses one: which, its conditions say.

    They are the ranges that a setting has beside different values of a sibling or in different named groups, and a
    range beside zero.

    Attributes:
        decides: the keys of the setting.
        stands_at: the keys that lead to it in a file.
        is_zero: whether it is the choice, true or false, of zero in place of a range.
        is_in_group: whether it belongs to a named group, whose name then stands among the keys of `path`.
    """

    decides: tuple[str, ...] = ()
    stands_at: tuple[str, ...] = ()
    is_zero: bool = False
    is_in_group: bool = False

    @property
    def place(self) -> tuple[str, ...]:
        """The keys that lead to it in a file."""
        return self.stands_at

    @property
    def setting(self) -> tuple[str, ...]:
        """The keys that lead to the setting that it decides."""
        return self.decides

    @property
    def common(self) -> tuple[str, ...]:
        """The part of `path` that all parameters share that decide the setting, in its group if it is in one."""
        return self.path[: len(self.decides) + self.is_in_group]

    def gives(self, value: object) -> bool:
        """Return whether the setting can have a value by this parameter."""
        if self.is_zero:
            return not isinstance(value, bool) and value == 0
        return self.domain.holds(value)


def settings_of(parameters: Iterable[Parameter], suggest: Callable[[Parameter], Any]) -> dict[str, Any]:
    """Return the nested settings of one trial.

    Args:
        parameters: in the order in which they are chosen: each after those that its conditions name.
        suggest: returns a value of a parameter; called for every parameter that varies and whose conditions hold.
    """
    chosen: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for parameter in parameters:
        if not parameter.active(chosen):
            continue
        domain = parameter.domain
        value = domain.value if isinstance(domain, Fixed) else suggest(parameter)
        chosen[parameter.name] = value
        if isinstance(parameter, SchedulePart) and parameter.number:
            _append(settings, (*parameter.path[:-1], "values"), value)
        elif isinstance(parameter, Alternative):
            if value is not False or not parameter.is_zero:
                put(settings, parameter.setting, 0 if parameter.is_zero else value)
        else:
            put(settings, parameter.path, domain.settings[value] if isinstance(domain, Fragments) else value)
    return settings


def settings_decided(parameter: Parameter) -> Iterator[str]:
    """Yield the dotted names, in a trial's settings, of what a parameter decides."""
    if isinstance(parameter, SchedulePart):  # a schedule that does not change is a number in the settings
        schedule = ".".join(parameter.setting)
        yield schedule
        yield f"{schedule}.values" if parameter.number else parameter.name
    elif isinstance(parameter.domain, Fragments):
        for group in parameter.domain.settings.values():
            yield from (".".join(path) for path, _ in leaf_values(group, parameter.setting))
    else:
        yield ".".join(parameter.setting)


def put(settings: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Set a value in nested settings, making the mappings on the way; the value is copied."""
    for key in path[:-1]:
        settings = settings.setdefault(key, {})
    settings[path[-1]] = deepcopy(value)


def _append(settings: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for key in path[:-1]:
        settings = settings.setdefault(key, {})
    settings.setdefault(path[-1], []).append(value)


def with_changes(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings, overridden by those of another mapping; both are copied."""
    result: dict[str, Any] = deepcopy(dict(settings))
    for key, value in changes.items():
        before = result.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[key] = with_changes(before, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return result


def leaf_values(settings: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value in nested settings with the keys that lead to it, after those of `path`.

    A value is all that is no mapping, or is an empty one.
    """
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaf_values(value, (*path, key))
        else:
            yield (*path, key), value


def contains(settings: object, group: object) -> bool:
    """Return whether nested settings have every setting of a group, with its value."""
    if not isinstance(group, Mapping):
        return settings == group
    return isinstance(settings, Mapping) and all(contains(settings.get(key), value) for key, value in group.items())
