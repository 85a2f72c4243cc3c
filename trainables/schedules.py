"""What changes over a run: pure functions of its progress, the share of the compute that is spent, in [0, 1]."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

Number = TypeVar("Number", int, float)
Moment = Annotated[float, Field(ge=0, le=1)]


class Schedule(BaseModel, Generic[Number]):
    """A setting that changes over the run's compute.

    `constant` has one value. `linear` goes straight from each of its values to the next, `stepped` jumps. `at` are the
    moments, as shares of the run, when a linear one reaches each value and when a stepped one begins with it; without
    `at` the values share the run evenly. Before the first moment the first value holds, after the last the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: Literal["constant", "linear", "stepped"]
    values: Annotated[tuple[Number, ...], Field(strict=False)]  # a list in JSON
    at: Annotated[tuple[Moment, ...], Field(strict=False)] | None = None

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
        """When each value is reached (`linear`) or begins (`stepped`), as shares of the run."""
        parts = len(self.values) - (self.kind == "linear")
        return self.at or tuple(index / parts for index in range(len(self.values)))

    def value(self, progress: float) -> float:
        """Return the value at a progress in [0, 1]; a schedule of whole numbers may be between two of them."""
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
        """Return the schema of the number, or of a schedule where there is a mapping."""
        number, schedule = get_args(source)

        def validate(value: Any, as_number: Callable[[Any], Any]) -> Any:
            if not isinstance(value, dict | Schedule):
                return as_number(value)
            read = schedule.model_validate(value)
            # Zero stays a schedule, because many a setting refuses it as a plain number.
            return as_number(read.values[0]) if read.kind == "constant" and read.values[0] else read

        return core_schema.no_info_wrap_validator_function(
            validate, handler.generate_schema(number), serialization=core_schema.simple_ser_schema("any")
        )


def value_at(setting: float | Schedule[Any], progress: float) -> float:
    """Return what a setting is at a progress in [0, 1]; a plain number never changes."""
    return setting.value(progress) if isinstance(setting, Schedule) else setting


def warmed_up(value: float, warmup: float, progress: float) -> float:
    """Return a value that grows linearly from zero over the first ``warmup`` of the run."""
    return value * min(1.0, progress / warmup) if warmup else value


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Return the learning rate now as a share of the highest; see `ClassifierConfig` for the schedules."""
    match schedule:
        case "cyclic":
            return progress / 0.4 if progress < 0.4 else (1.0 - progress) / 0.6
        case "step":
            return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01
        case _:
            return 1.0
