"""Configurations: the full, validated settings of one training run. Imports no torch.

Every model is frozen and strict: an unknown key or a value out of bounds is an error. The bounds stand beside the
field, so a search-space file is checked against the same lines that a training run is built from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from trainables.schedules import Schedulable, Schedule

Epsilon = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
GradientNorm = Annotated[float, Field(gt=0)]
Label = Annotated[int, Field(ge=0, le=9)]
# A number, or a schedule, which may pass through zero.
LearningRate = Annotated[Annotated[float, Field(gt=0)] | Schedule[Annotated[float, Field(ge=0)]], Schedulable()]
TrainingEpsilon = Annotated[Epsilon | Schedule[Fraction], Schedulable()]
Turns = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Base of all settings: immutable, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatasetConfig(Settings):
    """Which images are learned from, and how many training images are held out for the search to see."""

    name: Literal["mnist", "fashion_mnist", "digits"] = "mnist"
    validation: Annotated[int, Field(ge=1)] = 5000


class EvaluationConfig(Settings):
    """How robustness is measured: the same for every run of a sweep, so that runs can be compared.

    `epsilon` is the attacker's L-infinity radius in pixels of [0, 1]; it is no setting of any training recipe.
    `watch_images` are attacked at every report, `rank_images` once at the end.
    """

    epsilon: Epsilon = 0.3
    watch_images: Annotated[int, Field(ge=1)] = 500
    rank_images: Annotated[int, Field(ge=1)] = 1000


class ClassifierConfig(Settings):
    """The network that learns to withstand perturbations (the paper's discriminator).

    `learning_rate` is the highest; `schedule` says how it changes over the run's compute: `constant`, `cyclic` (up from
    zero for two fifths, then down to zero: Wong et al. 2020) or `step` (a tenth from one half, a hundredth from three
    quarters). A `learning_rate` that is itself a `Schedule` is multiplied by the same factor. `sgd` has a momentum of
    0.9; `weight_decay` is the factor of the squared weights' gradient; an update whose gradient is longer than
    `gradient_clip` (L2 norm over all weights) is shortened to it.
    """

    architecture: Literal["small_cnn", "madry_cnn", "mlp"] = "small_cnn"
    learning_rate: LearningRate = 1e-3
    schedule: Literal["constant", "cyclic", "step"] = "constant"
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: GradientNorm | None = None


class CyclicClassifierConfig(ClassifierConfig):
    """The same with the published rate of single-step training (Wong et al. 2020: Adam, cyclic to 5e-3)."""

    learning_rate: LearningRate = 5e-3
    schedule: Literal["constant", "cyclic", "step"] = "cyclic"


class AttackConfig(Settings):
    """The perturbation that a recipe trains on.

    Without an `epsilon`, the evaluation's is taken. `warmup` is the share of the run's compute over which it grows
    linearly from zero (small nets may collapse to one class without it), whether it is a number or a `Schedule`.
    """

    epsilon: TrainingEpsilon | None = None
    warmup: Fraction = 0.0


class IterativeAttackConfig(AttackConfig):
    """An attack of several steps from a random start; `reach` is how far all steps together go, in epsilons.

    `clipped_start` keeps the start inside [0, 1]; what the net learns from is always inside.
    """

    warmup: Fraction = 0.3
    steps: Annotated[int, Field(ge=1)] = 7
    reach: Annotated[float, Field(gt=0)] = 2.5
    clipped_start: bool = True


class SingleStepAttackConfig(IterativeAttackConfig):
    """One step of 1.25 epsilon from a start that is not clipped (Wong et al. 2020).

    Measured with their settings on MNIST, two seeds: 83 and 84 % withstand PGD-40; with a clipped start 66 and 0 %.
    """

    warmup: Fraction = 0.0
    steps: Annotated[int, Field(ge=1)] = 1
    reach: Annotated[float, Field(gt=0)] = 1.25
    clipped_start: bool = False


class GeneratorConfig(Settings):
    """The network that maps an image to a perturbation within `perturbation_bound` (pixels), and how it is trained.

    Network: `output_scale` is where the learned factor before the output's tanh starts. It sees the image and
    `image_gradient`, that of the classifier's cross-entropy, as it is (`raw`), its signs, or of unit root mean square;
    the true label with `see_label`; the present perturbation in bounds with `see_perturbation`; `noise` normal numbers.

    Perturbation: from the image or, with `random_start`, a uniformly random point within the bound, it goes the whole
    bound once, or `recursions` times a `recursion_step` of it, projected each time; `warmup` is the share of the run's
    compute over which the bound grows linearly from zero (small nets collapse without it).

    Goal: `untargeted` leaves the true label, `targeted` forces the label `target`, `source_to_target` does so for
    images of the label `source` alone.

    Training: `gradient_clip` is the longest gradient (L2 norm); `diversity` weighs how far two draws of noise move the
    image apart; every `reinitialise_every` cycles it starts anew.

    The classifier's turn meets `draws` perturbations of each image, on `fresh` minibatches or the `same` as the
    generator's last turn, each by the present generator or one of the last `pool`, kept every `pool_every` cycles.
    """

    body: Literal["space_to_depth", "strided", "residual"] = "space_to_depth"
    width: Annotated[int, Field(ge=1, le=512)] = 32
    output_scale: Annotated[float, Field(gt=0)] = 5.0
    image_gradient: Literal["none", "raw", "sign", "normalized"] = "normalized"
    see_label: bool = False
    see_perturbation: bool = False
    noise: Annotated[int, Field(ge=0)] = 0
    perturbation_bound: TrainingEpsilon = 0.3
    random_start: bool = False
    recursions: Annotated[int, Field(ge=1)] = 1
    recursion_step: Annotated[float, Field(gt=0, le=1)] = 0.5
    warmup: Fraction = 0.0
    goal: Literal["untargeted", "targeted", "source_to_target"] = "untargeted"
    target: Label | None = None
    source: Label | None = None
    loss: Literal["wrongness", "cross_entropy", "log_wrongness", "margin"] = "wrongness"
    diversity: Annotated[float, Field(ge=0)] = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: LearningRate = 1e-3
    gradient_clip: GradientNorm | None = None
    reinitialise_every: Annotated[int, Field(ge=1)] | None = None
    pool: Annotated[int, Field(ge=0)] = 0
    pool_every: Annotated[int, Field(ge=1)] = 100
    draws: Annotated[int, Field(ge=1)] = 1
    minibatch: Literal["fresh", "same"] = "fresh"

    @model_validator(mode="after")
    def _fits_together(self) -> GeneratorConfig:
        needed = {"untargeted": (), "targeted": ("target",), "source_to_target": ("source", "target")}[self.goal]
        for name in ("source", "target"):
            label = getattr(self, name)
            if label is None and name in needed:
                raise ValueError(f"{name} is missing: goal {self.goal} needs one, a label from 0 to 9")
            if label is not None and name not in needed:
                raise ValueError(f"{name} ({label}) must be left out: goal {self.goal} has none")
        if self.goal == "source_to_target" and self.source == self.target:
            raise ValueError(f"source and target must be different labels, both are {self.target}")
        if self.diversity and not self.noise:
            raise ValueError(f"diversity ({self.diversity:g}) needs noise above 0: it compares two draws of it")
        return self


class RatioConfig(Settings):
    """Generator turns per classifier turn, and how long a turn is.

    `constant` takes `generator_turns`, of a `Schedule` the nearest whole number; `stepped` divides the run's compute
    evenly among `steps`; `adaptive` gives the generator turns until its loss is under `target_generator_loss`, at most
    `max_generator_turns`.
    A turn is `turn_batches` minibatches, or one epoch when that is null (the paper's turn).
    """

    kind: Literal["constant", "stepped", "adaptive"] = "constant"
    generator_turns: Annotated[Turns | Schedule[Turns], Schedulable()] = 1
    steps: Annotated[tuple[Turns, ...], Field(min_length=1)] = (6, 8, 12)
    target_generator_loss: Annotated[float, Field(gt=0)] = 0.6
    max_generator_turns: Turns = 700
    turn_batches: Annotated[int, Field(ge=1)] | None = 1


class TrainingConfig(Settings):
    """What every recipe needs.

    `compute` and `report_every` are in epochs of standard training of the same classifier. With `bfloat16` the networks
    compute their training passes in it where the processor can; attacks' steps, losses, weights and every evaluation
    stay in float32.
    """

    dataset: DatasetConfig = DatasetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    batch_size: Annotated[int, Field(ge=1)] = 128
    precision: Literal["float32", "bfloat16"] = "float32"
    compute: Annotated[float, Field(gt=0)] = 10.0
    report_every: Annotated[float, Field(gt=0)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class StandardConfig(TrainingConfig):
    """Cross-entropy on clean images."""

    trainable: Literal["standard"] = "standard"


class FgsmRetrainingConfig(TrainingConfig):
    """Loss = clean_weight * clean + (1 - clean_weight) * FGSM, made anew every batch (Goodfellow et al. 2014)."""

    trainable: Literal["fgsm_retraining"] = "fgsm_retraining"
    attack: AttackConfig = AttackConfig()
    clean_weight: Fraction = 0.5


class FgsmRandomStartConfig(TrainingConfig):
    """One FGSM step from a random point of the ball, adversarial images only (Wong et al. 2020)."""

    trainable: Literal["fgsm_random_start"] = "fgsm_random_start"
    classifier: CyclicClassifierConfig = CyclicClassifierConfig()
    attack: SingleStepAttackConfig = SingleStepAttackConfig()


class PgdConfig(TrainingConfig):
    """PGD images only (Madry et al. 2018, with fewer and longer steps, and an epsilon that is warmed up)."""

    trainable: Literal["pgd"] = "pgd"
    classifier: CyclicClassifierConfig = CyclicClassifierConfig()
    attack: IterativeAttackConfig = IterativeAttackConfig()


class TradesConfig(TrainingConfig):
    """Loss = clean + beta * KL(clean, adversarial), the images made by PGD on that same term (Zhang et al. 2019)."""

    trainable: Literal["trades"] = "trades"
    classifier: CyclicClassifierConfig = CyclicClassifierConfig()
    attack: IterativeAttackConfig = IterativeAttackConfig()
    beta: Annotated[float, Field(ge=0)] = 6.0


class GanConfig(TrainingConfig):
    """The paper's loop: pre-train the classifier, then generator turns and classifier turns in a scheduled ratio."""

    trainable: Literal["gan"] = "gan"
    generator: GeneratorConfig = GeneratorConfig()
    ratio: RatioConfig = RatioConfig()
    pretrain: Annotated[float, Field(ge=0)] = 1.0
    clean_weight: Fraction = 0.5

    @model_validator(mode="after")
    def _leaves_room_for_the_loop(self) -> GanConfig:
        if self.pretrain >= self.compute:
            raise ValueError(
                f"pretrain ({self.pretrain:g}) must be below compute ({self.compute:g}): nothing is left for the loop"
            )
        return self


Configuration = Annotated[
    StandardConfig | FgsmRetrainingConfig | FgsmRandomStartConfig | PgdConfig | TradesConfig | GanConfig,
    Field(discriminator="trainable"),
]
CONFIGURATIONS: dict[str, type[TrainingConfig]] = {
    "standard": StandardConfig,
    "fgsm_retraining": FgsmRetrainingConfig,
    "fgsm_random_start": FgsmRandomStartConfig,
    "pgd": PgdConfig,
    "trades": TradesConfig,
    "gan": GanConfig,
}
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Configuration)


def parse(settings: dict[str, Any]) -> Any:
    """Return the configuration that a nested mapping with the key ``trainable`` describes.

    Raises:
        pydantic.ValidationError: a key is unknown or a value is out of bounds; all mistakes at once.
    """
    return _ADAPTER.validate_python(settings)
