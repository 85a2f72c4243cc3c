"""The grid: every combination of the choices and whole numbers of a space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from search_spaces.parameters import FloatRange, IntRange, Parameter

MAX_POINTS = 10_000  # a larger grid is most likely a mistake: no budget covers it


def grid_points(parameters: Sequence[Parameter]) -> list[dict[str, Any]]:
    """Return every combination of the varying parameters as values by dotted name, each combination once.

    Raises:
        ValueError: a range of real numbers has no grid, or there are more than `MAX_POINTS` combinations.
    """
    points: list[dict[str, Any]] = [{}]
    for parameter in parameters:
        points = list(islice(_extended(points, parameter), MAX_POINTS + 1))
        if len(points) > MAX_POINTS:
            raise ValueError(
                f"the grid has more than {MAX_POINTS:,} points: fix some parameters or narrow their ranges"
            )
    varying = {parameter.name for parameter in parameters if parameter.varies}
    return [{name: value for name, value in point.items() if name in varying} for point in points]


def grid_objection(parameter: Parameter) -> str | None:
    """Return why a parameter cannot be part of a grid, or None when it can."""
    if isinstance(parameter.domain, FloatRange):
        return "the grid sampler needs single values: write {choice: [...]} in place of a float range"
    return None


def _extended(points: Sequence[Mapping[str, Any]], parameter: Parameter) -> Iterator[dict[str, Any]]:
    for point in points:
        if not parameter.active(point):
            yield dict(point)
            continue
        for value in _values(parameter):
            yield {**point, parameter.name: value}


def _values(parameter: Parameter) -> Sequence[Any]:
    domain = parameter.domain
    if isinstance(domain, FloatRange):
        message = f"{parameter.name}: {grid_objection(parameter)}"
        raise ValueError(message)  # noqa: TRY004 - what is wrong is the value in a file
    return range(domain.low, domain.high + 1) if isinstance(domain, IntRange) else domain.values
