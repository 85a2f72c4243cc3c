"""Settings that several parameters decide.

That is a range for each value of a sibling (``by``), zero beside a range, and what varies inside of named groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.errors import Mistake, Path, shown, unknown
from search_spaces.parameters import (
    Alternative,
    Choice,
    Condition,
    Domain,
    Fixed,
    FloatRange,
    Fragments,
    IntRange,
    Parameter,
)
from search_spaces.parsing.schedules import ScheduleDomain

IS_ZERO, ABOVE_ZERO = "is_zero", "above_zero"
MAX_LABELS = 100


@dataclass(frozen=True)
class ZeroOr:
    """Zero, or a number of a range above it."""

    range: FloatRange | IntRange

    def holds(self, value: object) -> bool:
        """Return whether a value is zero or lies in the range."""
        return self.range.holds(value) or (not isinstance(value, bool) and value == 0)

    def __str__(self) -> str:
        return f"0 or {self.range}"


@dataclass(frozen=True)
class Dependent:
    """A domain for each value of a sibling, by the value as it is written.

    Attributes:
        sibling: its key.
        domains: None where one has mistakes.
    """

    sibling: str
    domains: Mapping[str, Domain | ZeroOr | None]

    def holds(self, value: object) -> bool:
        """Return whether a value can be the setting's beside some value of the sibling."""
        return any(domain is None or domain.holds(value) for domain in self.domains.values())

    def __str__(self) -> str:
        return f"a range that depends on {self.sibling}"


AnyDomain = Domain | ScheduleDomain | ZeroOr | Dependent


def read_by(place: Path, raw: object, wrong: list[Mistake]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the sibling that a setting depends on, and what is written for each of its values.

    Args:
        place: path of the leaf in the file.
        raw: the content of ``by``.
        wrong: mistakes are added to this list.
    """
    if isinstance(raw, dict) and len(raw) == 1:
        sibling, cases = next(iter(raw.items()))
        if isinstance(cases, dict) and 0 < len(cases) <= MAX_LABELS:
            return sibling, cases
    how = "{sibling: {value: {float: [low, high]}}}"
    message = f"takes one sibling and a range for each of its values, {how}, not {shown(raw)}"
    wrong.append(Mistake(None, (*place, "by"), message))
    return None


def case_mistake(place: Path, domain: AnyDomain | None) -> Mistake | None:
    """Return what is wrong with the kind of a domain that stands below ``by``; None if nothing is."""
    if isinstance(domain, ScheduleDomain | Dependent | Fragments):
        return Mistake(None, place, "must be a range, a choice of single values or a value: nothing else can depend")
    return None


def values_by_label(sibling: str, domain: AnyDomain | None, labels: Iterable[str]) -> tuple[dict[str, Any], str | None]:
    """Return the values of a sibling by how they are written below ``by``, and what is wrong with the labels.

    Args:
        sibling: its key.
        domain: of the sibling; only one that has single values can be depended on.
        labels: that stand below ``by``.
    """
    if isinstance(domain, ScheduleDomain):
        possible: Iterable[Any] = domain.kinds
    elif isinstance(domain, IntRange):
        possible = domain.points[: MAX_LABELS + 1]
    else:
        possible = domain.values if isinstance(domain, Choice | Fixed | Fragments) else ()
    values = {value if isinstance(value, str) else shown(value): value for value in possible}
    for label in labels:
        if label not in values:
            return values, f"{sibling} is never {label}: {unknown('value', label, values)}"
    missing = [label for label in values if label not in set(labels)]
    return values, f"says nothing for {', '.join(missing)}, which {sibling} may be" if missing else None


def prior_of(leaf: object) -> tuple[Any, ...]:
    """Return the prior that a leaf gives, alone in a tuple; an empty one without."""
    return (leaf["prior"],) if isinstance(leaf, dict) and "prior" in leaf else ()


def alternatives(
    path: tuple[str, ...],
    domain: ZeroOr | Dependent,
    when: tuple[Condition, ...],
    values: Mapping[str, Condition],
    leaf: Mapping[str, Any],
    place: tuple[str, ...],
) -> Iterator[Alternative]:
    """Yield the parameters that decide a setting.

    Args:
        path: of the setting.
        domain: what it may be.
        when: conditions of the setting, which all have.
        values: of a dependent domain: the condition under which each case is used.
        leaf: that describes the setting.
        place: of the leaf in the file.
    """
    if isinstance(domain, ZeroOr):
        yield from _zero_or(path, domain, when, path, place, prior_of(leaf))
        return
    for label, case in domain.domains.items():
        if case is None or label not in values:
            continue
        below, conditions = (*path, label), (*when, values[label])
        stands_at = (*place, "by", domain.sibling, label)
        prior = prior_of(leaf["by"][domain.sibling][label])
        if isinstance(case, ZeroOr):
            yield from _zero_or(below, case, conditions, path, stands_at, prior)
        else:
            yield Alternative(below, case, conditions, path, stands_at, prior=prior)


def _zero_or(
    path: tuple[str, ...],
    domain: ZeroOr,
    when: tuple[Condition, ...],
    decides: tuple[str, ...],
    stands_at: tuple[str, ...],
    prior: tuple[Any, ...],
) -> Iterator[Alternative]:
    switch, is_zero = (*path, IS_ZERO), tuple(value == 0 for value in prior)
    yield Alternative(switch, Choice((False, True)), when, decides, stands_at, is_zero=True, prior=is_zero)
    above = () if True in is_zero else prior
    yield Alternative((*path, ABOVE_ZERO), domain.range, (*when, (switch, (False,))), decides, stands_at, prior=above)


def inside_group(parameter: Parameter, place: tuple[str, ...]) -> Alternative:
    """Return a parameter of a named group with the place where it stands in the file.

    Args:
        parameter: whose keys lead to it inside the group.
        place: of the parameter, if it is the only one that decides its setting.
    """
    if isinstance(parameter, Alternative):
        return parameter
    path = parameter.path
    return Alternative(path, parameter.domain, parameter.when, path, place, prior=parameter.prior)


def of_groups(path: tuple[str, ...], groups: Fragments) -> Iterator[Alternative]:
    """Yield the parameters of the settings inside of named groups, each used beside its group's name.

    Args:
        path: of the choice among the groups.
        groups: the groups.
    """
    for name, parameters in groups.inside.items():
        for item in parameters:
            siblings = (((*path, name, *other), values) for other, values in item.when)
            yield replace(
                item,
                path=(*path, name, *item.path),
                when=((path, (name,)), *siblings),
                decides=(*path, *item.decides),
                is_in_group=True,
            )
