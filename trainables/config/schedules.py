"""Schedules: settings as functions of a run's progress, which is the share of its compute that is spent, in [0, 1]."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

Number = TypeVar("Number", int, float)
MAX_VALUES = 256  # of a schedule, and of a list of turns
Moment = Annotated[float, Field(ge=0, le=1)]


class Schedule(BaseModel, Generic[Number]):
    """A setting that changes over a run.

    Before the first moment it has the first value, after the last moment the last.

    Attributes:
        kind: ``constant``, one value; ``linear``, interpolated between the values; ``stepped``, each value until the
            next begins.
        values: in the order in which the run has them.
        at: for each value the progress in [0, 1] at which a linear schedule reaches it, or a stepped one begins it. By
            default the values are spaced evenly over the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    related: ClassVar[tuple[tuple[str, ...], ...]] = (("kind", "values", "at"),)

    kind: Literal["constant", "linear", "stepped"]
    values: Annotated[tuple[Number, ...], Field(strict=False, max_length=MAX_VALUES)]  # a list in JSON
    at: Annotated[tuple[Moment, ...], Field(strict=False, max_length=MAX_VALUES)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Schedule[Number]:
        count, needed = len(self.values), 1 if self.kind == "constant" else 2
        if count < needed or (self.kind == "constant" and count > needed):
            wanted = "one value" if self.kind == "constant" else "2 or more values"
            raise ValueError(f"{self.kind} takes {wanted}, not {count}")
        if self.at is not None:
            if self.kind == "constant":
                raise ValueError("constant has no moments: remove at")
            if len(self.at) != count:
                raise ValueError(f"at needs one moment for each of the {count} values, not {len(self.at)}")
            if any(later <= earlier for earlier, later in pairwise(self.at)):
                raise ValueError(f"the moments in at must increase, got {list(self.at)}")
        return self

    @property
    def moments(self) -> tuple[float, ...]:
        """The progress in [0, 1] at which each value is reached (``linear``) or begins (``stepped``)."""
        parts = len(self.values) - (self.kind == "linear")
        return self.at or tuple(index / parts for index in range(len(self.values)))

    def value(self, progress: float) -> float:
        """Return the value at a progress in [0, 1]; a linear schedule of whole numbers may return a fraction."""
        following = bisect_right(self.moments, progress)
        before, after = self.values[max(following - 1, 0)], self.values[min(following, len(self.values) - 1)]
        if self.kind != "linear" or before == after or following == 0:
            return before
        start, end = self.moments[following - 1 : following + 1]
        moved = before + (after - before) * (progress - start) / (end - start)
        return min(max(moved, min(before, after)), max(before, after))  # rounding must not leave the range


class Schedulable:
    """Marks a field ``number | Schedule[number]`` as one that may change over the run.

    A constant schedule is converted to its number. pydantic's own union would report each mistake in such a field
    twice.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a schema that reads a mapping as a schedule and everything else as the number."""
        number, schedule = get_args(source)

        def validate(value: Any, as_number: Callable[[Any], Any]) -> Any:
            if not isinstance(value, dict | Schedule):
                return as_number(value)
            read = schedule.model_validate(value)
            # Zero stays a schedule, because some settings accept it in a schedule but not as a number.
            return as_number(read.values[0]) if read.kind == "constant" and read.values[0] else read

        return core_schema.no_info_wrap_validator_function(
            validate, handler.generate_schema(number), serialization=core_schema.simple_ser_schema("any")
        )


def value_at(setting: float | Schedule[Any], progress: float) -> float:
    """Return the value of a setting, a number or a schedule, at a progress in [0, 1]."""
    return setting.value(progress) if isinstance(setting, Schedule) else setting


def warmed_up(value: float, warmup: float, progress: float) -> float:
    """Return a value as reduced by a linear warm-up.

    Args:
        value: the value after the warm-up.
        warmup: share of the run over which it grows from zero; 0 for no warm-up.
        progress: share of the run's compute that is spent, in [0, 1].
    """
    return value * min(1.0, progress / warmup) if warmup else value


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Return the factor in [0, 1] of the learning rate at a progress in [0, 1].

    Args:
        schedule: ``constant``, ``cyclic`` or ``step``; see `trainables.config.ClassifierConfig`.
        progress: share of the run's compute that is spent.
    """
    match schedule:
        case "cyclic":
            return progress / 0.4 if progress < 0.4 else (1.0 - progress) / 0.6
        case "step":
            return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01
        case _:
            return 1.0
