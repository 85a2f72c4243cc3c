"""``when``: a setting that is used only if its siblings have certain values, or their schedules certain kinds."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Any

from search_spaces.errors import Mistake, MistakeList, Path, shown, unknown
from search_spaces.parameters import Condition, FloatRange, Parameter
from search_spaces.parsing.alternatives import AnyDomain, Dependent, ZeroOr, values_by_label
from search_spaces.parsing.schedules import ScheduleDomain

Domains = Mapping[tuple[str, ...], AnyDomain | None]  # None: a setting whose own description is wrong


def read_condition(
    path: tuple[str, ...], raw: object, domains: Domains, place: Path
) -> tuple[tuple[Condition, ...], list[Mistake]]:
    """Return the conditions of a parameter, and the mistakes in them.

    Args:
        path: of the parameter.
        raw: the content of ``when``.
        domains: of all parameters by path, its siblings among them.
        place: of ``when`` in the file.
    """
    if not isinstance(raw, dict) or not raw:
        return (), [Mistake(None, place, f"takes {{sibling: value or [values]}}, not {shown(raw)}")]
    conditions: list[Condition] = []
    mistakes = MistakeList()
    for key, value in raw.items():
        values = value if isinstance(value, list) else [value]
        wrong = _objection(path, key, values, domains)
        if wrong:
            mistakes.append(Mistake(None, (*place, key), wrong))
        else:
            sibling = (*path[:-1], key)
            kind = ("kind",) if isinstance(domains[sibling], ScheduleDomain) else ()
            conditions.append(((*sibling, *kind), tuple(values)))
    return tuple(conditions), mistakes


def read_cases(
    path: tuple[str, ...], dependent: Dependent, domains: Domains, place: Path
) -> tuple[dict[str, Condition], list[Mistake]]:
    """Return the condition under which each case of a dependent range is used, and the mistakes in them.

    Args:
        path: of the setting.
        dependent: its ranges.
        domains: of all parameters by path, its siblings among them.
        place: of the sibling's name in the file.
    """
    wrong = _sibling_objection(path, dependent.sibling, domains)
    if wrong:
        return {}, [Mistake(None, place, wrong)]
    sibling = (*path[:-1], dependent.sibling)
    domain = domains[sibling]
    if domain is None:
        return {}, []
    values, wrong = values_by_label(dependent.sibling, domain, dependent.domains)
    if wrong:
        return {}, [Mistake(None, place, wrong)]
    kind = ("kind",) if isinstance(domain, ScheduleDomain) else ()
    return {label: ((*sibling, *kind), (value,)) for label, value in values.items()}, []


def _sibling_objection(path: tuple[str, ...], key: str, domains: Domains) -> str | None:
    """Return why no condition can name a sibling, or None if one can."""
    siblings = {other[-1]: other for other in domains if other[:-1] == path[:-1] and other != path}
    if key not in siblings:
        return unknown("sibling", key, siblings)
    domain = domains[siblings[key]]
    chain = [path, siblings[key]]
    while isinstance(following := domains.get(chain[-1]), Dependent):
        chain.append((*path[:-1], following.sibling))
        if chain[-1] in chain[:-1]:
            return f"leads back to itself: {' depends on '.join(other[-1] for other in chain)}"
    if isinstance(domain, FloatRange | ZeroOr | Dependent):
        return f"a condition needs a choice, an int or a fixed value, and {key} is {domain}"
    return None


def _objection(path: tuple[str, ...], key: str, values: list[Any], domains: Domains) -> str | None:
    if wrong := _sibling_objection(path, key, domains):
        return wrong
    domain = domains[(*path[:-1], key)]
    if domain is None:
        return None
    if not values:
        return f"names no value of {key}, which is {domain}"
    impossible = [value for value in values if not domain.holds(value)]
    return f"{key} is never {shown(impossible[0])}: it is {domain}" if impossible else None


def sort_by_conditions(
    parameters: Mapping[tuple[str, ...], Parameter],
) -> tuple[tuple[Parameter, ...], list[Mistake]]:
    """Sort parameters so that each comes after those that its conditions name, else in the file's order.

    Returns:
        All parameters, those of circular conditions last, and a mistake for each of these.
    """
    paths = list(parameters)
    order = {path: number for number, path in enumerate(paths)}
    missing = {path: {other for other, _ in item.when if other in parameters} for path, item in parameters.items()}
    dependents: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for path, others in missing.items():
        for other in others:
            dependents.setdefault(other, []).append(path)
    ready = [order[path] for path, others in missing.items() if not others]  # ascending, so a heap
    done: dict[tuple[str, ...], Parameter] = {}
    while ready:
        path = paths[heappop(ready)]
        done[path] = parameters[path]
        for dependent in dependents.get(path, ()):
            missing[dependent].remove(path)
            if not missing[dependent]:
                heappush(ready, order[dependent])
    circular = [item for path, item in parameters.items() if path not in done]
    message = "its condition leads back to itself, or to a setting whose condition does"
    cycles = [Mistake(None, (*item.place, "when"), message) for item in circular]
    return (*done.values(), *circular), cycles
