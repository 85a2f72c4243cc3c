"""Schedules in a space file: ``schedule`` beside a range or a choice becomes parameters for its kind and its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from search_spaces.errors import Mistake, Path, shown, unknown
from search_spaces.parameters import (
    Choice,
    Condition,
    Domain,
    Fixed,
    FloatRange,
    IntRange,
    Parameter,
    SchedulePart,
    is_number,
)

CONSTANT, LINEAR, STEPPED = KINDS = ("constant", "linear", "stepped")
OPTIONS = ("knots", "at")  # beside ``schedule``
_KNOTS = 3
_MAX_KNOTS = 16  # each is one more dimension to search


@dataclass(frozen=True)
class ScheduleDomain:
    """What the schedule of a setting may be.

    Attributes:
        kinds: constant, linear, stepped, or several of them.
        values: the domain of each value.
        knots: number of values of a stepped schedule.
        at: moments of the values as shares of the run, from 0 to 1; None spreads them evenly.
    """

    kinds: tuple[str, ...]
    values: FloatRange | IntRange | Choice
    knots: int
    at: tuple[float, ...] | None

    def holds(self, value: object) -> bool:
        """Return whether the schedule can be of a kind."""
        return value in self.kinds

    def __str__(self) -> str:
        return f"a schedule: {' or '.join(self.kinds)}"


def schedule_parts(path: tuple[str, ...], schedule: ScheduleDomain, when: tuple[Condition, ...]) -> Iterator[Parameter]:
    """Yield the parameters that decide a schedule: ``kind``, ``at`` if there is one, and ``knot_1``, ``knot_2``, ...

    Args:
        path: of the setting.
        schedule: what it may be.
        when: conditions of the setting, which its parts have, too.
    """

    def beside(*kinds: str) -> tuple[Condition, ...]:
        return when if kinds == schedule.kinds else (*when, ((*path, "kind"), kinds))

    kinds = schedule.kinds
    yield SchedulePart((*path, "kind"), Choice(kinds) if len(kinds) > 1 else Fixed(kinds[0]), when)
    if schedule.at is not None:
        changing = (kind for kind in kinds if kind != CONSTANT)
        yield SchedulePart((*path, "at"), Fixed(list(schedule.at)), beside(*changing))
    lengths = {CONSTANT: 1, LINEAR: 2, STEPPED: schedule.knots}
    for number in range(1, max(lengths[kind] for kind in kinds) + 1):
        having = (kind for kind in kinds if lengths[kind] >= number)
        yield SchedulePart((*path, f"knot_{number}"), schedule.values, beside(*having), number)


def schedule_part_values(value: object) -> dict[str, Any]:
    """Return the values of `schedule_parts` by their last key.

    Args:
        value: a number, which is a constant schedule; or a schedule as a mapping with ``kind``, ``values`` and ``at``.
    """
    if not isinstance(value, Mapping):
        return {"kind": CONSTANT, "knot_1": value}
    if not isinstance(value.get("values", []), list | tuple):
        return dict(value)
    plain = {key: inner for key, inner in value.items() if key != "values" and (key, inner) != ("at", None)}
    return {**plain, **{f"knot_{number}": knot for number, knot in enumerate(value.get("values", ()), start=1)}}


def read_schedule(
    place: Path, leaf: Mapping[str, Any], values: Domain | None, wrong: list[Mistake]
) -> ScheduleDomain | None:
    """Return what a schedule may be.

    Args:
        place: path of the leaf in the file.
        leaf: the mapping that describes it, with the key ``schedule``.
        values: its range or choice; None if that has mistakes.
        wrong: mistakes are added to this list.
    """
    kinds = _kinds((*place, "schedule"), leaf["schedule"], wrong)
    _check_values((*place, "choice"), values, wrong)
    at = _moments((*place, "at"), leaf["at"], kinds, wrong) if "at" in leaf else None
    knots = _num_knots((*place, "knots"), leaf.get("knots", len(at or ()) or _KNOTS), wrong)
    if "knots" in leaf and kinds and STEPPED not in kinds:
        wrong.append(Mistake(None, (*place, "knots"), "is how many values stepped has: leave it out, or add stepped"))
    elif at and kinds and len(at) != (needed := knots if STEPPED in kinds else 2):
        message = f"needs one moment for each of the {needed} values, not {len(at)}"
        wrong.append(Mistake(None, (*place, "at"), message))
    return ScheduleDomain(kinds, values, knots, at) if isinstance(values, FloatRange | IntRange | Choice) else None


def _kinds(place: Path, raw: object, wrong: list[Mistake]) -> tuple[str, ...]:
    """Return the kinds that can be read."""
    several = raw if isinstance(raw, list) else [raw]
    if not several or not all(isinstance(kind, str) for kind in several):
        message = f"takes one or several of {', '.join(KINDS)}, not {shown(raw)}"
        wrong.append(Mistake(None, place, message))
        return ()
    earlier: set[str] = set()
    for index, kind in enumerate(several):
        where = (*place, index) if isinstance(raw, list) else place
        if kind not in KINDS:
            wrong.append(Mistake(None, where, unknown("schedule", kind, KINDS)))
        elif kind in earlier:
            wrong.append(Mistake(None, where, f"{kind} stands twice"))
        earlier.add(kind)
    if several == [CONSTANT]:
        wrong.append(Mistake(None, place, "constant alone changes nothing over the run: leave schedule out"))
    return tuple(kind for kind in several if kind in KINDS)


def _check_values(place: Path, values: Domain | None, wrong: list[Mistake]) -> None:
    given = values.values if values is not None and not isinstance(values, FloatRange | IntRange) else ()
    for index, value in enumerate(given):
        if not is_number(value):
            where = (*place, index) if isinstance(values, Choice) else (*place, value)
            wrong.append(Mistake(None, where, f"a schedule goes through numbers, and this is {shown(value)}"))


def _num_knots(place: Path, raw: object, wrong: list[Mistake]) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and 2 <= raw <= _MAX_KNOTS:
        return raw
    wrong.append(Mistake(None, place, f"must be a whole number from 2 to {_MAX_KNOTS}, not {shown(raw)}"))
    return _KNOTS


def _moments(place: Path, raw: object, kinds: tuple[str, ...], wrong: list[Mistake]) -> tuple[float, ...] | None:
    if not (isinstance(raw, list) and len(raw) >= 2 and all(is_number(moment) and 0 <= moment <= 1 for moment in raw)):
        message = f"takes moments as shares of the run, like [0, 0.5, 0.75], not {shown(raw)}"
        wrong.append(Mistake(None, place, message))
        return None
    if any(later <= earlier for earlier, later in pairwise(raw)):
        wrong.append(Mistake(None, place, f"the moments must increase, and these are {shown(raw)}"))
    if LINEAR in kinds and STEPPED in kinds:
        message = "linear reaches its values at other moments than stepped: give at with one of them"
        wrong.append(Mistake(None, place, message))
        return None
    return tuple(float(moment) for moment in raw)
