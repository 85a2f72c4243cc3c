"""The base of all models of settings, and the kinds of numbers in them, each with its bounds."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from trainables.common.limits import MAX_IMAGES
from trainables.config.plugins.references import MAX_NAME
from trainables.config.schedules import Schedulable, Schedule

MAX_NUMBER = 1e6
"""The bound of numbers that have no tighter one: far beyond what any run has needed."""

MAX_RADIUS = 400.0
"""About the L2 distance between black and white in 224 x 224 pixels of three channels."""
Epsilon = Annotated[float, Field(ge=1e-6, le=MAX_RADIUS)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Compute = Annotated[float, Field(ge=1e-3, le=MAX_NUMBER)]
Weight = Annotated[float, Field(ge=0, le=MAX_NUMBER)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
NumImages = Annotated[int, Field(ge=1, le=MAX_IMAGES)]
NumOwnImages = Annotated[int, Field(ge=1, le=10_000_000)]
GradientNorm = Annotated[float, Field(ge=1e-9, le=1e9)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
CodeName = Annotated[str, Field(pattern=r"^\w[\w.+ -]{0,199}$")]
MAX_FILES = 20
AS_TUPLE = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
NumChannels = Annotated[int, Field(ge=1, le=3)]
Side = Annotated[int, Field(ge=1, le=224)]
ClassName = Annotated[str, Field(max_length=MAX_NAME)]
AttackName = Annotated[str, Field(max_length=MAX_NAME)]
Label = Annotated[int, Field(ge=0, le=999)]
# A number above zero, or a schedule, which may reach zero.
LearningRate = Annotated[
    Annotated[float, Field(ge=1e-12, le=1e30)] | Schedule[Annotated[float, Field(ge=0, le=1e30)]], Schedulable()
]
TrainingEpsilon = Annotated[Epsilon | Schedule[Fraction], Schedulable()]
NumTurns = Annotated[int, Field(ge=1, le=100_000)]


class Settings(BaseModel):
    """Base of all models here: frozen; unknown keys, infinities and NaN are errors.

    Attributes:
        related: groups of fields, those of a section by dotted names, that a model's validators look at together:
            values that are each valid alone can be refused beside each other only if their fields stand in one group.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    related: ClassVar[tuple[tuple[str, ...], ...]] = ()
