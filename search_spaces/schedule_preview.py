"""What the schedules of a space can be over a run: the range of each kind, and examples drawn from it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from search_spaces.parameters import Choice, Domain, Fixed, FloatRange, IntRange, Parameter
from trainables.schedules import Schedule

MOMENTS = tuple(index / 200 for index in range(201))  # of the run, at which a schedule is looked at
_EXAMPLES = 2
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40  # characters of one line


@dataclass(frozen=True)
class Course:
    """One kind of one setting's schedule: lowest, highest and example values at `MOMENTS`.

    `log` says that the values are drawn evenly in their logarithm, so that this is how they are best seen.
    """

    setting: str
    kind: str
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    examples: tuple[Schedule[float], ...]
    log: bool


def courses(parameters: Iterable[Parameter]) -> list[Course]:
    """Return what the schedules among a space's parameters can be, written with ``schedule`` or as settings."""
    groups: dict[str, dict[str, Parameter]] = {}
    for one in parameters:
        groups.setdefault(".".join(one.path[:-1]), {})[one.path[-1]] = one
    return [
        course
        for setting, group in groups.items()
        if "kind" in group and ("knot_1" in group or "values" in group)
        for kind in _values(group["kind"].domain)
        for course in _course(setting, str(kind), group)
    ]


def _course(setting: str, kind: str, group: dict[str, Parameter]) -> Iterator[Course]:
    knots = _knots(kind, group)
    at = group["at"].domain if "at" in group and kind != "constant" else None
    moments = at.value if isinstance(at, Fixed) else None

    def schedule(values: Iterable[float]) -> Schedule[float]:
        return Schedule[float](kind=kind, values=tuple(values), at=moments)  # type: ignore[arg-type]

    rng = random.Random(f"{setting} {kind}")  # noqa: S311 - the same examples every time
    lowest, highest = (schedule(end(_ends(knot)) for knot in knots) for end in (min, max))
    drawn = [lowest] if lowest == highest else [schedule(_drawn(knot, rng) for knot in knots) for _ in range(_EXAMPLES)]
    low, high = (tuple(one.value(moment) for moment in MOMENTS) for one in (lowest, highest))
    log = any(isinstance(knot, FloatRange | IntRange) and knot.log for knot in knots)
    yield Course(setting, kind, low, high, tuple(drawn), log)


def _knots(kind: str, group: dict[str, Parameter]) -> list[Domain]:
    """Return what each value of a kind may be."""
    if "values" in group:
        return [Fixed(value) for value in _values(group["values"].domain)[0]]
    own = group["kind"].path
    return [
        one.domain
        for name, one in group.items()
        if name.startswith("knot_") and all(kind in kinds for path, kinds in one.when if path == own)
    ]


def _values(domain: Domain) -> tuple[Any, ...]:
    return domain.values if isinstance(domain, Fixed | Choice) else ()


def _ends(domain: Domain) -> tuple[float, ...]:
    return (domain.low, domain.high) if isinstance(domain, FloatRange | IntRange) else _values(domain)


def _drawn(domain: Domain, rng: random.Random) -> float:
    if not isinstance(domain, FloatRange | IntRange):
        return float(rng.choice(_values(domain)))
    low, high = (math.log(domain.low), math.log(domain.high)) if domain.log else (domain.low, domain.high)
    value = rng.uniform(low, high)
    value = min(max(math.exp(value), domain.low), domain.high) if domain.log else value
    return round(value) if isinstance(domain, IntRange) else value


def lines(drawn: Iterable[Course]) -> Iterator[str]:
    """Yield a small picture of each course in bars, as comments of a space file."""
    seen: set[str] = set()
    for course in drawn:
        low, high = min(course.lowest), max(course.highest)
        if course.setting not in seen:
            scale = ", in its logarithm" if course.log else ""
            yield f"# {course.setting} over the run, {_BARS[0]} {low:.4g} to {_BARS[-1]} {high:.4g}{scale}"
        seen.add(course.setting)
        for place, example in enumerate(course.examples):
            values = " ".join(f"{value:.2g}" for value in example.values)
            yield f"#   {'' if place else course.kind:<8} {_bars(course, example, low, high)} {values}"


def _bars(course: Course, example: Schedule[float], low: float, high: float) -> str:
    def height(value: float) -> float:
        return math.log(value) if course.log else value

    span = height(high) - height(low)
    values = (example.value((column + 0.5) / _WIDTH) for column in range(_WIDTH))
    shares = ((height(value) - height(low)) / span if span else 1.0 for value in values)
    return "".join(_BARS[min(int(share * len(_BARS)), len(_BARS) - 1)] for share in shares)
