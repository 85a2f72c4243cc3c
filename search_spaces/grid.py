"""The grid: every combination of the choices and whole numbers of a space."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from search_spaces.parameters import Fixed, FloatRange, IntRange, Parameter

MAX_POINTS = 10_000  # a larger grid is most likely a mistake: no budget covers it
ValuesOf = Callable[[Parameter], Iterable[Any]]


def grid_points(parameters: Sequence[Parameter]) -> list[dict[str, Any]]:
    """Return every combination of the varying parameters as values by dotted name, each combination once.

    Raises:
        ValueError: see `num_grid_points`.
    """
    num_grid_points(parameters)
    return list(combinations(parameters, _grid_values))


def num_grid_points(parameters: Sequence[Parameter]) -> int:
    """Return the number of combinations of the varying parameters.

    Raises:
        ValueError: a range of real numbers has no grid, or there are more than `MAX_POINTS` combinations.
    """
    named = {name for parameter in parameters for name in parameter.conditions}
    alone = {item.name for item in parameters if item.varies and not item.conditions and item.name not in named}
    num_points = math.prod(_num_values(item) for item in parameters if item.name in alone)
    if num_points <= MAX_POINTS:
        others = [item for item in parameters if item.name not in alone]
        num_points *= sum(1 for _ in islice(_chosen(others, _grid_values), MAX_POINTS + 1))
    if num_points > MAX_POINTS:
        raise ValueError(f"the grid has more than {MAX_POINTS:,} points: fix some parameters or narrow their ranges")
    return num_points


def grid_objection(parameter: Parameter) -> str | None:
    """Return why a parameter cannot be part of a grid, or None when it can."""
    if isinstance(parameter.domain, FloatRange) and parameter.domain.step is None:
        return (
            "the grid sampler needs single values: write {choice: [...]} in place of a float range, or give it a step"
        )
    return None


def combinations(parameters: Sequence[Parameter], values_of: ValuesOf) -> Iterator[dict[str, Any]]:
    """Yield every combination of the varying parameters as values by dotted name, each combination once.

    A combination has a value for every parameter whose conditions it meets. The last parameter changes fastest.

    Args:
        parameters: in the order in which they are chosen: each after those that its conditions name.
        values_of: returns the values of a varying parameter that are tried, in their order.
    """
    varying = [parameter.name for parameter in parameters if parameter.varies]
    for chosen in _chosen(parameters, values_of):
        yield {name: chosen[name] for name in varying if name in chosen}


def _chosen(parameters: Iterable[Parameter], values_of: ValuesOf) -> Iterator[Mapping[str, Any]]:
    """Yield one mapping again and again, each time with the next combination; fixed values may be in it, too."""
    everything = list(parameters)
    named = {name for parameter in everything for name in parameter.conditions}
    needed = [parameter for parameter in everything if parameter.varies or parameter.name in named]
    chosen: dict[str, Any] = {}
    open_values: list[tuple[int, Iterator[Any]]] = []  # of the parameters that are in use: what is left to try
    position = 0
    while True:
        for place in range(position, len(needed)):
            parameter = needed[place]
            if parameter.active(chosen):
                values = iter(parameter.domain.values if isinstance(parameter.domain, Fixed) else values_of(parameter))
                open_values.append((place, values))
                chosen[parameter.name] = next(values)
        yield chosen
        while open_values:
            place, values = open_values[-1]
            name = needed[place].name
            try:
                chosen[name] = next(values)
            except StopIteration:
                del chosen[name]
                open_values.pop()
            else:
                break
        if not open_values:
            return
        position = place + 1


def _num_values(parameter: Parameter) -> int:
    domain = parameter.domain
    return domain.num_points if isinstance(domain, IntRange) else len(_grid_values(parameter))


def _grid_values(parameter: Parameter) -> Sequence[Any]:
    domain = parameter.domain
    if not isinstance(domain, FloatRange | IntRange):
        return domain.values
    if domain.points is None:
        raise ValueError(f"{parameter.name}: {grid_objection(parameter)}")
    return domain.points
