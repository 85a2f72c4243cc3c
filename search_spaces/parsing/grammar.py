"""Read the tree under ``parameters`` into a flat list of parameters, with every mistake in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from search_spaces.errors import Mistake, MistakeList, Path, UnreadableError, shown, unknown
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
    after_steps,
    is_number,
    num_steps,
    put,
)
from search_spaces.parsing.alternatives import (
    AnyDomain,
    Dependent,
    ZeroOr,
    alternatives,
    case_mistake,
    inside_group,
    of_groups,
    prior_of,
    read_by,
)
from search_spaces.parsing.conditions import read_cases, read_condition, sort_by_conditions
from search_spaces.parsing.schedules import OPTIONS, ScheduleDomain, read_schedule, schedule_parts

_RANGE_OPTIONS = ("log", "step", "or_zero", "prior", "schedule", "when")
_OPTIONS = {"float": _RANGE_OPTIONS, "int": _RANGE_OPTIONS, "choice": ("prior", "schedule", "when"), "by": ("when",)}
MAX_PARAMETERS = 256  # no recipe has so many settings
MAX_CHOICES = 1000
MAX_STEPS = 100_000
_LEAF_KEYS = {*_OPTIONS, "log", "when"}  # a mapping with one of these is a leaf


@dataclass(frozen=True)
class Tree:
    """The content of ``parameters``.

    Attributes:
        parameters: the well-formed ones, in the order in which their values are chosen.
        invalid_paths: paths of those with mistakes.
        empty_paths: paths of mappings without any setting.
        mistakes: all mistakes in it.
    """

    parameters: tuple[Parameter, ...] = ()
    invalid_paths: tuple[tuple[str, ...], ...] = ()
    empty_paths: tuple[tuple[str, ...], ...] = ()
    mistakes: tuple[Mistake, ...] = ()


def read_tree(tree: object) -> Tree:
    """Read the mapping under ``parameters``.

    Raises:
        UnreadableError: it has too many settings or mistakes.
    """
    if not isinstance(tree, dict):
        message = f"must be a mapping of settings, not {shown(tree)}"
        return Tree(mistakes=(Mistake(None, ("parameters",), message),))
    leaves = dict(islice(_leaves((), tree), MAX_PARAMETERS + 1))
    if len(leaves) > MAX_PARAMETERS:
        raise UnreadableError([_too_many_parameters()])
    mistakes = MistakeList()
    domains, parameters = _read_leaves(leaves, ("parameters",), mistakes)
    if len(parameters) > MAX_PARAMETERS:
        raise UnreadableError([*mistakes, _too_many_parameters()])
    in_order, cycles = sort_by_conditions(parameters)
    invalid_paths = tuple(path for path, domain in domains.items() if domain is None)
    return Tree(in_order, invalid_paths, tuple(_empty_mappings((), tree)), (*mistakes, *cycles))


_Domains = dict[tuple[str, ...], AnyDomain | None]


def _read_leaves(
    leaves: Mapping[tuple[str, ...], Any], place: tuple[str, ...], mistakes: list[Mistake]
) -> tuple[_Domains, dict[tuple[str, ...], Parameter]]:
    """Return the domains of settings, None where one has mistakes, and the parameters that decide them, by path.

    Args:
        leaves: what is written for each setting, by the keys that lead to it.
        place: of the mapping in the file from which these keys begin.
        mistakes: to which those of the settings are added.
    """
    domains = {path: _domain((*place, *path), leaf, mistakes) for path, leaf in leaves.items()}
    parameters: dict[tuple[str, ...], Parameter] = {}
    for path, domain in domains.items():
        leaf, here = leaves[path], (*place, *path)
        when: tuple[Condition, ...] = ()
        if isinstance(leaf, dict) and "when" in leaf:
            when, wrong = read_condition(path, leaf["when"], domains, (*here, "when"))
            mistakes += wrong
        if isinstance(domain, ScheduleDomain):
            parameters |= {part.path: part for part in schedule_parts(path, domain, when)}
        elif isinstance(domain, ZeroOr | Dependent):
            cases: dict[str, Condition] = {}
            if isinstance(domain, Dependent):
                cases, wrong = read_cases(path, domain, domains, (*here, "by", domain.sibling))
                mistakes += wrong
            parameters |= {part.path: part for part in alternatives(path, domain, when, cases, leaf, here)}
        elif domain is not None:
            parameters[path] = Parameter(path, domain, when, prior=prior_of(leaf))
            if isinstance(domain, Fragments):
                parameters |= {part.path: part for part in of_groups(path, domain)}
    return domains, parameters


def _too_many_parameters() -> Mistake:
    return Mistake(None, ("parameters",), f"has more than {MAX_PARAMETERS} settings, and no recipe has so many")


def _leaves(path: tuple[str, ...], tree: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and not value.keys() & _LEAF_KEYS:
            yield from _leaves((*path, key), value)
        else:
            yield (*path, key), value


def _empty_mappings(path: tuple[str, ...], tree: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if value == {}:
            yield (*path, key)
        elif isinstance(value, dict) and not value.keys() & _LEAF_KEYS:
            yield from _empty_mappings((*path, key), value)


def _domain(place: tuple[str, ...], leaf: object, mistakes: list[Mistake]) -> AnyDomain | None:
    """Return the domain that a leaf describes; None when it has mistakes, which are added to the list."""
    wrong: list[Mistake] = MistakeList()
    invalid = next((key for key in place if isinstance(key, str) and not key.isidentifier()), None)
    if invalid is not None:
        wrong.append(Mistake(None, place, f"{shown(invalid)} cannot name a setting: use letters, digits and _"))
    domain = _domain_of_mapping(place, leaf, wrong) if isinstance(leaf, dict) else Fixed(leaf)
    mistakes += wrong
    return None if wrong else domain


def _domain_of_mapping(place: tuple[str, ...], leaf: dict[str, Any], wrong: list[Mistake]) -> AnyDomain | None:
    kinds = [kind for kind in _OPTIONS if kind in leaf]
    scheduled = OPTIONS if "schedule" in leaf else ()
    valid = (kinds[0], *_OPTIONS[kinds[0]], *scheduled) if len(kinds) == 1 else {*_LEAF_KEYS, "schedule", *scheduled}
    wrong += (Mistake(None, (*place, key), unknown("key", key, valid)) for key in leaf if key not in valid)
    if len(kinds) != 1:
        names = "float, int, choice and by" if "by" in kinds else "float, int and choice"
        actual = f"has {' and '.join(kinds)}" if kinds else "has none of them"
        wrong.append(Mistake(None, place, f"takes exactly one of {names}, and {actual}"))
        return None
    if kinds == ["by"]:
        return _dependent(place, leaf["by"], wrong)
    domain: Domain | None
    if kinds == ["choice"]:
        domain = _choice((*place, "choice"), leaf["choice"], wrong)
    else:
        domain = _range(place, kinds[0], leaf, wrong)
    if leaf.get("or_zero", False) is not False:
        zero_or = _zero_or(place, leaf, domain, wrong)
        return _with_prior(place, leaf, zero_or, wrong)
    _with_prior(place, leaf, domain, wrong)
    return read_schedule(place, leaf, domain, wrong) if "schedule" in leaf else domain


_Domain = TypeVar("_Domain", bound=Domain | ZeroOr | None)


def _with_prior(place: Path, leaf: dict[str, Any], domain: _Domain, wrong: list[Mistake]) -> _Domain:
    """Return a domain; what is wrong with the prior beside it is added to the list."""
    if "prior" in leaf and "schedule" in leaf:
        wrong.append(Mistake(None, (*place, "prior"), "cannot stand beside schedule: give the schedule in first"))
    elif "prior" in leaf and domain is not None and not domain.holds(leaf["prior"]):
        wrong.append(Mistake(None, (*place, "prior"), f"must be {domain}, not {shown(leaf['prior'])}"))
    return domain


def _zero_or(place: Path, leaf: dict[str, Any], domain: Domain | None, wrong: list[Mistake]) -> ZeroOr | None:
    if leaf["or_zero"] is not True:
        wrong.append(Mistake(None, (*place, "or_zero"), f"must be true or false, not {shown(leaf['or_zero'])}"))
    if "schedule" in leaf:
        wrong.append(Mistake(None, (*place, "or_zero"), "cannot stand beside schedule: let a knot be zero instead"))
    if not isinstance(domain, FloatRange | IntRange):
        return None
    if domain.low <= 0:
        message = f"is zero beside a range above it, and low ({domain.low:g}) is not above 0: leave it out"
        wrong.append(Mistake(None, (*place, "or_zero"), message))
    return ZeroOr(domain)


def _dependent(place: tuple[str, ...], raw: object, wrong: list[Mistake]) -> Dependent | None:
    read = read_by(place, raw, wrong)
    if read is None:
        return None
    sibling, cases = read
    domains: dict[str, Domain | ZeroOr | None] = {}
    for label, leaf in cases.items():
        below = (*place, "by", sibling, label)
        domain = _domain_of_mapping(below, leaf, wrong) if isinstance(leaf, dict) else Fixed(leaf)
        if isinstance(leaf, dict) and "when" in leaf:
            wrong.append(Mistake(None, (*below, "when"), "stands beside by, for all values together"))
        if mistake := case_mistake(below, domain):
            wrong.append(mistake)
        domains[label] = None if isinstance(domain, ScheduleDomain | Dependent) else domain
    return Dependent(sibling, domains)


def _range(place: Path, kind: str, leaf: dict[str, Any], wrong: list[Mistake]) -> FloatRange | IntRange | None:
    bounds, log = leaf[kind], leaf.get("log", False)
    if not isinstance(log, bool):
        wrong.append(Mistake(None, (*place, "log"), f"must be true or false, not {shown(log)}"))
    if not (isinstance(bounds, list) and len(bounds) == 2):
        wrong.append(Mistake(None, place, f"{kind} takes [low, high], not {shown(bounds)}"))
        return None
    wanted = "whole numbers" if kind == "int" else "numbers"
    bad = [end for end in (0, 1) if not is_number(bounds[end]) or (kind == "int" and not isinstance(bounds[end], int))]
    for end in bad:
        message = f"the ends of {kind} must be {wanted}, not {shown(bounds[end])}"
        wrong.append(Mistake(None, (*place, kind, end), message))
    if bad:
        return None
    low, high = bounds
    if low >= high:
        wrong.append(Mistake(None, place, f"low ({low:g}) must be below high ({high:g})"))
    if log is True and low <= 0:
        wrong.append(Mistake(None, place, f"with log, low ({low:g}) must be above 0"))
    step = leaf.get("step")
    if "step" in leaf and (objection := _step_objection(kind, low, high, log, step)):
        wrong.append(Mistake(None, (*place, "step"), objection))
        step = None
    if kind == "int":
        return IntRange(low, high, log, step)
    if step is None:
        return FloatRange(float(low), float(high), log)
    return _stepped(float(low), float(high), log is True, float(step))


def _stepped(low: float, high: float, log: bool, step: float) -> FloatRange:
    """Return a range whose numbers have 15 digits at most, in which no rounding takes its last step away."""
    number, largest = num_steps(low, high, step), max(abs(low), abs(high))
    if not number or not largest:
        return FloatRange(low, high, log, step)
    digits = 14 - math.floor(math.log10(largest))
    low, step = round(low, digits), round(step, digits)
    return FloatRange(low, after_steps(low, number, step), log, step)


def _step_objection(kind: str, low: float, high: float, log: object, step: object) -> str | None:
    """Return why a range cannot have a step, or None if it can."""
    if not is_number(step) or step <= 0 or (kind == "int" and not isinstance(step, int)):
        return f"must be a {'whole ' if kind == 'int' else ''}number above 0, not {shown(step)}"
    if log is True:
        return "cannot stand beside log: equal steps are not even in the logarithm; write {choice: [...]}"
    if low >= high:
        return None
    if kind == "float" and (high - low) / step > MAX_STEPS:
        return f"makes more than {MAX_STEPS:,} values: leave it out"
    remainder = (high - low) % step if kind == "int" else num_steps(low, high, step) is None
    if remainder:
        best = low + (high - low) // step * step
        return (
            f"must divide the range: from {low:g} in steps of {step:g} come {best:g} and {best + step:g}, not {high:g}"
        )
    return None


def _choice(place: tuple[str, ...], values: object, wrong: list[Mistake]) -> Choice | Fragments | None:
    if not isinstance(values, list | dict) or not values:
        message = f"takes [value, ...] or named groups {{name: {{setting: ...}}, ...}}, not {shown(values)}"
        wrong.append(Mistake(None, place, message))
        return None
    if len(values) > MAX_CHOICES:
        message = f"has {len(values):,} entries, and at most {MAX_CHOICES:,} are taken"
        wrong.append(Mistake(None, place, message))
        return None
    if isinstance(values, dict):
        return _fragments(place, values, wrong)
    earlier: set[object] = set()
    for index, value in enumerate(values):
        if isinstance(value, list | dict):
            remedy = "to choose among lists or mappings, name them: {choice: {name: {setting: ...}, ...}}"
            wrong.append(Mistake(None, (*place, index), f"must be a number, text, true, false or null; {remedy}"))
            continue
        if value in earlier:
            wrong.append(Mistake(None, (*place, index), f"{shown(value)} stands twice in the choice"))
        earlier.add(value)
    return Choice(tuple(values))


def _group_objection(group: object) -> str | None:
    """Return why something cannot be a named group of a choice, or None if it can."""
    if not isinstance(group, dict):
        return (
            f"must be a mapping of settings, not {shown(group)}; to choose among values, list them: {{choice: [...]}}"
        )
    if group.keys() & _OPTIONS.keys():
        return "is no group of settings; for a range that depends on another setting write {by: {setting: ...}}"
    return None


def _fragments(place: tuple[str, ...], groups: dict[str, Any], wrong: list[Mistake]) -> Fragments:
    settings: dict[str, Mapping[str, Any]] = {}
    inside: dict[str, tuple[Alternative, ...]] = {}
    for name, group in groups.items():
        if objection := _group_objection(group):
            wrong.append(Mistake(None, (*place, name), objection))
            continue
        leaves = dict(islice(_leaves((), group), MAX_PARAMETERS + 1))
        if len(leaves) > MAX_PARAMETERS:
            raise UnreadableError([*wrong, _too_many_parameters()])
        if not any(isinstance(leaf, dict) for leaf in leaves.values()):
            settings[name] = group
            continue
        if not name.isidentifier():
            message = f"{shown(name)} cannot name a group that varies inside: use letters, digits and _"
            wrong.append(Mistake(None, (*place, name), message))
            continue
        domains, parameters = _read_leaves(leaves, (*place, name), wrong)
        for path, domain in domains.items():
            if isinstance(domain, ScheduleDomain | Fragments):
                message = "must be a range, a choice of single values or a value inside of a named group"
                wrong.append(Mistake(None, (*place, name, *path), message))
        fixed: dict[str, Any] = {}
        settings[name] = fixed
        for path, leaf in leaves.items():
            if not isinstance(leaf, dict):
                put(fixed, path, leaf)
        inside[name] = tuple(inside_group(item, (*place, name, *item.path)) for item in parameters.values())
    return Fragments(settings, inside)
