"""The sections of a search-space file beside its parameters: budget, search, objective and so on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from search_spaces.errors import shown
from search_spaces.limits import MAX_CONFIRMED, MAX_SEEDS, NAME_PATTERN, TRIALS_LIMIT
from trainables.common.tasks import Norm
from trainables.config import (
    AS_TUPLE,
    MAX_NUMBER,
    Compute,
    DataContent,
    with_default_validation,
    without_usual_values,
    without_what_is_not_set,
)
from trainables.evaluation.earlier_names import present_name, present_watched_name

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SMALLEST_SHARE = 0.01  # of a processor
_LONGEST = 87_600 * 3600.0  # seconds: ten years
MAX_BASELINES = 100
MAX_FIRST = 1000
MAX_OBJECTIVES = 16
MAX_PACK = 256


class Section(BaseModel):
    """Base of all sections: immutable, and strict about keys and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


def keys_of(model: type[BaseModel]) -> list[str]:
    """Return the keys that a model takes."""
    return [str(field.validation_alias or name) for name, field in model.model_fields.items()]


def submodel(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Return the model of the mapping that a key of a model takes; None when the key takes a value or is unknown."""
    fields = zip(keys_of(model), model.model_fields.values(), strict=True)
    return next((_model_in(field.annotation) for name, field in fields if name == key), None)


def deeper_keys(model: type[BaseModel], key: str, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys below a model's own whose last part is a key: ``budget.trials`` for ``trials``."""
    for name in keys_of(model):
        if prefix and name == key:
            yield f"{prefix}{name}"
        elif inner := submodel(model, name):
            yield from deeper_keys(inner, key, f"{prefix}{name}.")


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def name_objection(value: object) -> str | None:
    """Return why a value cannot be a name, or None when it can."""
    if isinstance(value, str) and re.match(NAME_PATTERN, value):
        return None
    wanted = "1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit"
    return f"a name is {wanted}, not {shown(value)}"


def _name(value: object) -> object:
    if objection := name_objection(value):
        raise ValueError(objection)
    return value


def seconds_of(value: object) -> float:
    """Return the seconds that a text like ``90s``, ``30m`` or ``2h`` stands for.

    Raises:
        ValueError: it is no such text, or too short or long a time.
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh])", value) if isinstance(value, str) else None
    if match is None or float(match[1]) == 0:
        raise ValueError("must be a number above 0 with its unit, like 90s, 30m or 2h")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0.01 <= seconds <= _LONGEST:
        raise ValueError(f"must be from 0.01s to {_LONGEST / 3600:.0f}h, not {value}")
    return seconds


def _amount(value: float) -> float:
    return round(value, 4)  # Ray's precision


def _auto_or(wanted: str) -> BeforeValidator:
    """Return a validator that takes ``auto`` for None, and leaves what else is written to the others."""

    def as_written(value: object) -> object:
        if value == "auto":
            return None
        if value is None or isinstance(value, str):
            raise ValueError(f"must be auto, {wanted}, not {shown(value)}")
        return value

    return BeforeValidator(as_written)


def _gpus(value: float | None) -> float | None:
    if value is None:
        return None
    if 0 < value < _SMALLEST_SHARE or (value > 1 and value != int(value)):
        raise ValueError(f"must be auto, 0, or a share of one GPU from {_SMALLEST_SHARE:g} to 1, not {value:g}")
    return _amount(value)


Name = Annotated[str, BeforeValidator(_name)]


class Dataset(Section):
    """The dataset of every run, and how many of its training images are held out for validation.

    Its keys and bounds are those of `trainables.config.DatasetConfig`.

    Attributes:
        name: of a dataset of the catalogue (`tuner data` lists them), a folder with a folder of images for each class,
            a file of arrays (``.npz``, ``.safetensors``), or a function of one's own (``file.py:images``).
        validation: how many training images are held out, for the accuracies that a search sees.
        test: how many images of one's own are split off for the test, where they do not say it themselves.
        memory: where the images lie while a run trains: ``device``, ``host`` or ``auto``. The numbers are the same.
        content: what a launch found in images of one's own; it writes this key.
    """

    name: str = "mnist"
    validation: int | None = 5000
    test: int | None = None
    memory: Literal["auto", "device", "host"] = "auto"
    content: DataContent | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_what_is_not_set(handler(self))

    @property
    def wanted(self) -> dict[str, int | None]:
        """How many images of one's own are split off to validate and to test on, as asked for."""
        return {"validation": self.validation, "test": self.test}

    @model_validator(mode="before")
    @classmethod
    def _validation_suits_the_dataset(cls, settings: object) -> object:
        return with_default_validation(settings)


class Evaluation(Section):
    """How the robustness of every run of the sweep is measured, within `trainables.config.EvaluationConfig`'s bounds.

    Attributes:
        norm: of all perturbations, in training as in attacks: ``linf``, the largest change of a pixel, or ``l2``, the
            length of all changes.
        epsilon: the attacks' bound on that norm, in pixels of [0, 1].
        watch_images: number of validation images that are attacked at every report.
        rank_images: number that are attacked, by stronger attacks, at the end.
        fgsm_epsilons: further bounds for which every report has the accuracy under FGSM.
        attacks: further attacks at the end: those of installed packages by their names, or functions of one's own.
        attack_options: settings of attacks of packages, by the attack's name.
    """

    norm: Norm = "linf"
    epsilon: float = 0.3
    watch_images: int = 500
    rank_images: int = 1000
    fgsm_epsilons: Annotated[tuple[float, ...], AS_TUPLE] = ()
    attacks: Annotated[tuple[str, ...], AS_TUPLE] = ()
    attack_options: Mapping[str, Mapping[str, Any]] = {}

    @model_serializer(mode="wrap")
    def _without_usual_values(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_usual_values(handler(self))


class Objective(Section):
    """A metric that the search improves, measured at the end of a trial.

    Attributes:
        metric: its name, see the reference of metrics.
        mode: whether more or less of it is better.
    """

    metric: Annotated[str, AfterValidator(present_name)] = "robust"
    mode: Literal["max", "min"] = "max"

    @property
    def sign(self) -> float:
        """The factor, 1 or -1, after which a larger value is better."""
        return 1.0 if self.mode == "max" else -1.0


class Bounds(Section):
    """The range in which a metric must lie for a trial to count as a success; `min`, `max` or both are set.

    Attributes:
        min: the lowest value that counts.
        max: the highest value that counts.
    """

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bound_something(self) -> Bounds:
        if self.min is None and self.max is None:
            raise ValueError("needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) must not be above max ({self.max:g})")
        return self


class Budget(Section):
    """How much the sweep may cost, and when it has found enough: whatever is reached first ends the search.

    Runs that have begun are trained to their end. Times are written like 90s, 30m or 2h, and kept in seconds.

    Attributes:
        trials: how many trials there are; baselines come on top.
        compute: what a trial may cost, in epochs of standard training of the same classifier.
        total_compute: what all trials together may cost, likewise.
        time: for the whole sweep, all of its drivers together.
        target: a value of the first objective that is enough.
        until: ``converged`` ends the search when something better is not to be expected, see
            `tuner.sweep.state.chance_of_improvement`.
        trial_timeout: for one report of a run, which is ended after it and tried once more.
    """

    trials: Annotated[int, Field(ge=1, le=TRIALS_LIMIT)] | None = None
    compute: Compute
    total_compute: Annotated[float, Field(ge=1e-3, le=MAX_NUMBER * TRIALS_LIMIT)] | None = None
    time: Annotated[float | None, BeforeValidator(seconds_of)] = None
    target: float | None = None
    until: Literal["converged"] | None = None
    trial_timeout: Annotated[float | None, BeforeValidator(seconds_of)] = None


class SuccessiveHalving(Section):
    """Keep one of `reduction_factor` trials at `min_resource` compute, and again at each multiple by the factor.

    Attributes:
        min_resource: compute at which trials are first compared; by default the first report after warm-up and
            pretraining, with a warm-up not before about half of the compute, here and for the other pruners, see
            `search_spaces.checks.rungs.default_rung`.
        reduction_factor: one of so many trials goes on, and how much further the next comparison lies.
    """

    min_resource: Compute | None = None
    reduction_factor: Annotated[int, Field(ge=2, le=1000)] = 3


class Median(Section):
    """Stop a trial below the median of the earlier ones, after `startup_trials` of them and `min_resource` compute.

    Attributes:
        startup_trials: how many trials are never stopped.
        min_resource: compute from which on a trial can be stopped, see `SuccessiveHalving`.
    """

    startup_trials: Annotated[int, Field(ge=0, le=TRIALS_LIMIT)] = 5
    min_resource: Annotated[float, Field(ge=0, le=MAX_NUMBER)] | None = None


class Hyperband(Section):
    """Successive halving in brackets that begin at `min_resource` compute and at each multiple by the factor.

    Attributes:
        min_resource: compute at which the trials of the first bracket are first compared, see `SuccessiveHalving`.
        reduction_factor: as of `SuccessiveHalving`.
    """

    min_resource: Compute | None = None
    reduction_factor: Annotated[int, Field(ge=2, le=1000)] = 3


class Pruner(Section):
    """At most one way to stop weak trials early; its settings can be left out.

    Attributes:
        successive_halving: keep the best share of the trials at each rung.
        hyperband: the same in brackets that begin at different rungs.
        median: stop what is below the median of the earlier trials.
    """

    successive_halving: SuccessiveHalving | None = None
    hyperband: Hyperband | None = None
    median: Median | None = None

    @model_validator(mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        if value == "none":
            return {}
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value in cls.model_fields:
            return {value: {}}
        if not isinstance(value, dict) or len(value) != 1 or None in value.values():
            raise ValueError(f"must be none or one of {', '.join(cls.model_fields)}, alone or as {{name: {{...}}}}")
        return value

    @property
    def chosen(self) -> tuple[str, SuccessiveHalving | Hyperband | Median] | None:
        """The name of the pruner and its settings; None if there is none."""
        for name in Pruner.model_fields:
            if (settings := getattr(self, name)) is not None:
                return name, settings
        return None

    @property
    def first_rung(self) -> float | None:
        """The compute from which on trials are compared; None without a pruner, and if it names none."""
        return None if self.chosen is None else self.chosen[1].min_resource

    def with_first_rung(self, compute: float) -> Pruner:
        """Return the pruner with this `min_resource`; one that has none of its own is meant, or ``none``."""
        if self.chosen is None:
            return self
        name, settings = self.chosen
        return self.model_copy(update={name: settings.model_copy(update={"min_resource": compute})})


class SamplerClass(Section):
    """A sampler by its class, made from ``optuna.samplers.BaseSampler``, and the arguments that it is made with.

    Attributes:
        path: where the class lies, ``package.module:Name``; the key ``class`` of a file.
        args: by name, all but ``seed``.
    """

    path: Annotated[str, Field(validation_alias="class", max_length=1000)]
    args: Mapping[str, Any] = {}

    @field_validator("path")
    @classmethod
    def _leads_to_a_class(cls, value: str) -> str:
        if not cls.is_path(value):
            raise ValueError(f"must be package.module:Name, like optuna.samplers:TPESampler, not {shown(value)}")
        return value

    def __str__(self) -> str:
        return self.path

    @staticmethod
    def is_path(value: object) -> bool:
        """Return whether a value is like ``package.module:Name``."""
        module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


PARETO = "pareto"
"""Stands for the metric of `Search.prune_on`: all objectives together."""
SamplerName = Literal["tpe", "gp", "nsga2", "random", "qmc", "grid"]
_BY_NAME, _BY_CLASS = "sampler by name", "sampler by class"
SAMPLER_TAGS = (_BY_NAME, _BY_CLASS)
"""What pydantic puts into the path of a mistake in a sampler; no key of a file."""


def _sampler_tag(value: object) -> str:
    return _BY_CLASS if isinstance(value, Mapping | SamplerClass) else _BY_NAME


class Search(Section):
    """How the next configuration is chosen, and when a weak trial is stopped.

    Attributes:
        sampler: ``tpe``, ``gp``, ``nsga2``, ``random``, ``qmc``, ``grid``, or a class of Optuna's or of one's own with
            its arguments: ``{class: package.module:Name, args: {...}}``.
        pruner: ``none``, or a way to stop weak trials early.
        prune_on: what trials are compared by while they train, see `Space.prune_on` for the default; ``pareto`` is
            all of several objectives.
        accept_early_rungs: let a pruner compare trials before the end of warm-up and pretraining.
        prior_draws: of so many first trials that ``tpe`` or ``gp`` draw, every second one lies around the best
            configuration of ``first`` so far, or a prior; none does in a search of fewer trials.
        seed: of the sampler, and of the first trial; a baseline has it, too.
    """

    sampler: Annotated[
        Annotated[SamplerName, Tag(_BY_NAME)] | Annotated[SamplerClass, Tag(_BY_CLASS)], Discriminator(_sampler_tag)
    ] = "tpe"
    pruner: Pruner = Pruner.model_validate("none")
    prune_on: Objective | None = None
    accept_early_rungs: bool = False
    prior_draws: Annotated[int, Field(ge=0, le=TRIALS_LIMIT)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @field_validator("prune_on", mode="before")
    @classmethod
    def _with_present_name(cls, value: object) -> object:
        if value == PARETO:
            return {"metric": PARETO}
        if isinstance(value, dict) and isinstance(value.get("metric"), str):
            return {**value, "metric": present_watched_name(value["metric"])}
        return value


class Confirm(Section):
    """The stage after the search, in which its best configurations run again.

    Attributes:
        top: how many configurations.
        seeds: with how many new seeds each.
    """

    top: Annotated[int, Field(ge=1, le=MAX_CONFIRMED)] = 3
    seeds: Annotated[int, Field(ge=2, le=MAX_SEEDS)] = 3


class Resources(Section):
    """CPUs and GPUs that one run occupies, or one pack of runs; with a fraction of a GPU, several share its memory.

    ``auto`` is kept as None. Sweeps of earlier releases may have more than one GPU for a run.

    Attributes:
        cpu: processors of one run, or of one pack.
        gpu: share of a GPU of one run, or of one pack; with auto, as many runs share the GPUs that there are as the
            memory of one run and the processors beside them allow.
        pack: how many runs train in one process, which then has these CPUs and GPUs together; 1 for each alone. With
            auto, a whole GPU trains as many as its memory allows, at most 16, if gpu is auto, too; else each is alone.
    """

    cpu: Annotated[float, Field(ge=_SMALLEST_SHARE, le=10_000), AfterValidator(_amount)] = 1.0
    gpu: Annotated[
        float | None,
        Field(ge=0, le=10_000),
        AfterValidator(_gpus),
        _auto_or("0, or a share of one GPU, like 0.25 or 1"),
    ] = None
    pack: Annotated[int | None, Field(ge=1, le=MAX_PACK), _auto_or("or a whole number from 1 on")] = None


class Baseline(Section):
    """A recipe to compare with, at the sweep's compute: its defaults, overridden by `settings`.

    Attributes:
        name: of the baseline; by default that of the recipe, the published configuration or the bundle's folder.
        trainable: the recipe.
        settings: its own; in a file they stand beside the name.
    """

    name: str
    trainable: str
    settings: Mapping[str, Any] = {}
