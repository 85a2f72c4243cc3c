"""What the schedules of a space can be over a run: the range of each kind, and examples drawn from it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from search_spaces.parameters import Choice, Domain, Fixed, FloatRange, IntRange, Parameter
from trainables.config.schedules import Schedule

MOMENTS = tuple(index / 200 for index in range(201))
"""The shares of the run, from 0 to 1, at which a schedule is evaluated."""
_EXAMPLES = 2
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40  # characters of one line


@dataclass(frozen=True)
class SchedulePreview:
    """What one kind of one setting's schedule can be over a run.

    Attributes:
        setting: dotted name of the setting.
        kind: constant, linear or stepped.
        lowest: smallest values that it can have at `MOMENTS`.
        highest: largest values at `MOMENTS`.
        examples: schedules drawn at random from the space, the same ones every time.
        log: whether values are drawn evenly in their logarithm, and best shown on a logarithmic axis.
    """

    setting: str
    kind: str
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    examples: tuple[Schedule[float], ...]
    log: bool


def preview_schedules(parameters: Iterable[Parameter]) -> list[SchedulePreview]:
    """Return a preview of every kind of every schedule in a space, whether it varies or is fixed."""
    groups: dict[str, dict[str, Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(".".join(parameter.path[:-1]), {})[parameter.path[-1]] = parameter
    return [
        preview
        for setting, group in groups.items()
        if "kind" in group and ("knot_1" in group or "values" in group)
        for kind in _values(group["kind"].domain)
        for preview in _previews(setting, str(kind), group)
    ]


def _previews(setting: str, kind: str, group: dict[str, Parameter]) -> Iterator[SchedulePreview]:
    knots = _knots(kind, group)
    at = group["at"].domain if "at" in group and kind != "constant" else None
    moments = at.value if isinstance(at, Fixed) else None

    def schedule(values: Iterable[float]) -> Schedule[float]:
        return Schedule[float](kind=kind, values=tuple(values), at=moments)  # type: ignore[arg-type]

    rng = random.Random(f"{setting} {kind}")  # noqa: S311 - the same examples every time
    lowest, highest = (schedule(end(_ends(knot)) for knot in knots) for end in (min, max))
    drawn = [lowest] if lowest == highest else [schedule(_drawn(knot, rng) for knot in knots) for _ in range(_EXAMPLES)]
    low, high = (tuple(end.value(moment) for moment in MOMENTS) for end in (lowest, highest))
    log = any(isinstance(knot, FloatRange | IntRange) and knot.log for knot in knots)
    yield SchedulePreview(setting, kind, low, high, tuple(drawn), log)


def _knots(kind: str, group: dict[str, Parameter]) -> list[Domain]:
    """Return what each value of a kind may be."""
    if "values" in group:
        return [Fixed(value) for value in _values(group["values"].domain)[0]]
    own = group["kind"].path
    return [
        knot.domain
        for name, knot in group.items()
        if name.startswith("knot_") and all(kind in kinds for path, kinds in knot.when if path == own)
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


def preview_lines(previews: Iterable[SchedulePreview]) -> Iterator[str]:
    """Yield a line of bars for each example of each preview, as comments that can be put into a space file."""
    seen: set[str] = set()
    for preview in previews:
        low, high = min(preview.lowest), max(preview.highest)
        if preview.setting not in seen:
            scale = ", in its logarithm" if preview.log else ""
            yield f"# {preview.setting} over the run, {_BARS[0]} {low:.4g} to {_BARS[-1]} {high:.4g}{scale}"
        seen.add(preview.setting)
        for index, example in enumerate(preview.examples):
            values = " ".join(f"{value:.2g}" for value in example.values)
            yield f"#   {'' if index else preview.kind:<8} {_bars(preview, example, low, high)} {values}"


def _bars(preview: SchedulePreview, example: Schedule[float], low: float, high: float) -> str:
    def height(value: float) -> float:
        return math.log(value) if preview.log else value

    span = height(high) - height(low)
    values = (example.value((column + 0.5) / _WIDTH) for column in range(_WIDTH))
    shares = ((height(value) - height(low)) / span if span else 1.0 for value in values)
    return "".join(_BARS[min(int(share * len(_BARS)), len(_BARS) - 1)] for share in shares)
