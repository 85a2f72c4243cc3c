"""The sections of settings about attacks: how robustness is measured, and what a recipe trains on."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from trainables.common.tasks import Norm
from trainables.config.fields import (
    AS_TUPLE,
    MAX_FILES,
    MAX_NUMBER,
    AttackName,
    Epsilon,
    Fraction,
    NumImages,
    Settings,
    TrainingEpsilon,
)
from trainables.config.plugins.options import Options, checked_options
from trainables.config.plugins.references import code_reference
from trainables.config.plugins.registries import ATTACKS, objection

OWN = "own/"
"""What the name of the metric of an attack begins with that is a function of a user's own."""


def attack_objection(name: str) -> str | None:
    """Return why no attack can have a name, or None when one can: one of an installed package, or a function."""
    names = tuple(entry.name for entry in ATTACKS.plugins() if entry.name not in ATTACKS.ours)
    if name in names or code_reference(name):
        return None
    if name in ATTACKS.ours:
        return f"{name} is one of the attacks of the product, which has its place already: leave it out"
    return objection(name, names, "a function of your own, like 'attack.py:noise'")


def training_attack_objection(name: str) -> str | None:
    """Return why nothing can be trained on the images of an attack of a name, or None: it may also be one of ours."""
    return None if name in ATTACKS.ours else attack_objection(name)


def metric_of_attack(name: str) -> str:
    """Return the metric of an attack that the evaluation names: its name, or ``own/NAME`` of a function."""
    reference = code_reference(name)
    return name if reference is None else f"{OWN}{reference.name}"


def without_usual_values(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an evaluation without the usual norm, and without the keys of lists that are empty.

    So settings without any have the digest that they have always had.
    """
    usual = {"attacks": [], "attack_options": {}, "fgsm_epsilons": [], "norm": "linf"}
    return {key: value for key, value in evaluation.items() if key not in usual or (value and value != usual[key])}


def radius_objection(name: str, radius: float, norm: str) -> str | None:
    """Return why a perturbation cannot have a radius in a norm, or None when it can.

    Args:
        name: of the setting; empty where its place is told with the message.
        radius: in pixels of [0, 1].
        norm: ``linf`` or ``l2``.
    """
    if norm != "linf" or radius <= 1:
        return None
    hint = f"; did you mean {radius:g}/255?" if radius <= 255 else ""
    of = f"{name} " if name else ""
    return f"{of}must be less than or equal to 1, not {radius:g}: pixels are from 0 to 1{hint}"


class EvaluationConfig(Settings):
    """How robustness is measured: the same for all runs of a sweep, so that they can be compared.

    Attributes:
        norm: of all perturbations of the run, in training as in attacks: ``linf``, the largest change of a pixel, or
            ``l2``, the length of all changes.
        epsilon: the attacks' radius in that norm, in pixels of [0, 1]; recipes have an epsilon of their own.
        watch_images: how many validation images are attacked at every report.
        rank_images: how many are attacked, by stronger attacks, at the end.
        fgsm_epsilons: further radii at which every report measures the accuracy under FGSM.
        attacks: further attacks at the end, beside those that always run: the names of attacks of installed packages,
            or functions of one's own (``attack.py:noise``).
        attack_options: settings of those attacks of packages that have any, by the attack's name.
    """

    norm: Norm = "linf"
    epsilon: Epsilon = 0.3
    watch_images: NumImages = 500
    rank_images: NumImages = 1000
    fgsm_epsilons: Annotated[tuple[Epsilon, ...], Field(max_length=20), AS_TUPLE] = ()
    attacks: Annotated[tuple[AttackName, ...], Field(max_length=MAX_FILES), AS_TUPLE] = ()
    attack_options: dict[AttackName, Options] = Field(default_factory=dict)

    @field_validator("epsilon")
    @classmethod
    def _is_in_pixels(cls, epsilon: float, info: ValidationInfo) -> float:
        if objection := radius_objection("", epsilon, info.data.get("norm", "linf")):
            raise ValueError(objection)
        return epsilon

    @field_validator("fgsm_epsilons")
    @classmethod
    def _has_each_once(cls, epsilons: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        for epsilon in epsilons:
            if objection := radius_objection("", epsilon, info.data.get("norm", "linf")):
                raise ValueError(objection)
        names = [f"{epsilon:g}" for epsilon in epsilons]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"must have each radius once, not {', '.join(sorted(twice))} twice")
        return epsilons

    @field_validator("attacks")
    @classmethod
    def _are_known(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if names and info.data.get("norm") == "l2":
            raise ValueError("must be left out with norm l2: further attacks search the L-infinity ball alone")
        for name in names:
            if objection := attack_objection(name):
                raise ValueError(objection)
        metrics = [metric_of_attack(name) for name in names]
        if twice := [name for name in metrics if metrics.count(name) > 1]:
            raise ValueError(f"{twice[0]} is named twice: each attack has a metric of its name")
        return names

    @model_validator(mode="after")
    def _options_are_those_of_its_attacks(self) -> EvaluationConfig:
        for name, options in self.attack_options.items():
            if name not in self.attacks:
                raise ValueError(f"attack_options has settings of {name}, which attacks does not name")
            checked_options(ATTACKS, name, options)
        return self

    @model_serializer(mode="wrap")
    def _without_usual_values(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_usual_values(handler(self))


class AttackConfig(Settings):
    """The attack whose images a recipe trains on.

    Attributes:
        epsilon: its L-infinity radius in pixels of [0, 1], or a `Schedule`; by default the evaluation's.
        warmup: share of the run's compute over which epsilon grows linearly from zero; without it small networks may
            come to predict one class for all images.
    """

    epsilon: TrainingEpsilon | None = None
    warmup: Fraction = 0.0


class IterativeAttackConfig(AttackConfig):
    """An attack of several gradient steps from a random start.

    Attributes:
        steps: how many gradient steps.
        reach: total length of all steps, in epsilons.
        clipped_start: whether the random start is clipped to [0, 1]; the images that are trained on always are.
    """

    warmup: Fraction = 0.3
    steps: Annotated[int, Field(ge=1, le=10_000)] = 7
    reach: Annotated[float, Field(gt=0, le=MAX_NUMBER)] = 2.5
    clipped_start: bool = True


class NamedAttackConfig(AttackConfig):
    """An attack by its name, as `trainables.evaluation.attack_table` has it.

    Attributes:
        name: one of ours or of an installed package, or a function of one's own (``attack.py:noise``).
        options: settings of an attack of a package, if it has any.
    """

    related = (("name", "options"),)

    name: AttackName = "fgsm"
    options: Options = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if objection := training_attack_objection(name):
            raise ValueError(objection)
        return name

    @model_validator(mode="after")
    def _options_are_those_of_the_attack(self) -> NamedAttackConfig:
        checked_options(ATTACKS, self.name, self.options)
        return self


class SingleStepAttackConfig(IterativeAttackConfig):
    """An attack whose defaults are those of Wong et al. 2020: one step of 1.25 epsilon from an unclipped start.

    With their settings on MNIST and two seeds, accuracy under PGD-40 was 83 and 84 %; with a clipped start 66 and 0 %.
    """

    warmup: Fraction = 0.0
    steps: Annotated[int, Field(ge=1, le=10_000)] = 1
    reach: Annotated[float, Field(gt=0, le=MAX_NUMBER)] = 1.25
    clipped_start: bool = False
