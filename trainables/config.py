"""Configurations: the complete, validated settings of one training run, as pydantic models. No torch here.

There is a model for each recipe, with the same sections in all of them: dataset, evaluation, classifier and, where the
recipe has them, attack, generator and ratio. Every model is frozen and strict: an unknown key or a value out of bounds
is an error. Every number and every list has bounds, which are declared with its field, and every model names the fields
that have to fit together (`related`), so a search space is checked against the same lines that a run is built from.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, Union

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from trainables.common.limits import MAX_IMAGES
from trainables.common.tasks import CATALOG_TASKS, Task
from trainables.schedules import MAX_VALUES, Schedulable, Schedule

MAX_NUMBER = 1e6
"""The bound of numbers that have no tighter one: far beyond what any run has needed."""
NUM_TRAINING_IMAGES = {"mnist": 60_000, "fashion_mnist": 60_000, "digits": 1437}
_FEWER_VALIDATION = {"digits": 200}  # by default, of datasets that are too small for the usual 5000
MAX_REPORTS = 100_000

Epsilon = Annotated[float, Field(ge=1e-6, le=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Compute = Annotated[float, Field(ge=1e-3, le=MAX_NUMBER)]
Weight = Annotated[float, Field(ge=0, le=MAX_NUMBER)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
NumImages = Annotated[int, Field(ge=1, le=MAX_IMAGES)]
GradientNorm = Annotated[float, Field(ge=1e-9, le=1e9)]
Label = Annotated[int, Field(ge=0, le=9)]
# A number above zero, or a schedule, which may reach zero.
LearningRate = Annotated[
    Annotated[float, Field(ge=1e-12, le=1e30)] | Schedule[Annotated[float, Field(ge=0, le=1e30)]], Schedulable()
]
TrainingEpsilon = Annotated[Epsilon | Schedule[Fraction], Schedulable()]
NumTurns = Annotated[int, Field(ge=1, le=100_000)]


def with_default_validation(dataset: Any) -> Any:
    """Return the settings of a dataset with the number of validation images that suits it, unless they have one.

    Args:
        dataset: settings by key; anything else is returned as it is.
    """
    if isinstance(dataset, dict) and "validation" not in dataset:
        return {**dataset, "validation": _FEWER_VALIDATION.get(str(dataset.get("name")), 5000)}
    return dataset


class Settings(BaseModel):
    """Base of all models here: frozen; unknown keys, infinities and NaN are errors.

    Attributes:
        related: groups of fields that a model's validators look at together: values that are each valid alone can be
            refused beside each other only if their fields stand in one group.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    related: ClassVar[tuple[tuple[str, ...], ...]] = ()


class DatasetConfig(Settings):
    """The images to train on.

    Attributes:
        name: which dataset.
        validation: how many training images are held out, for the accuracies that a search sees; by default as many as
            suit the dataset.
    """

    related = (("name", "validation"),)

    name: Literal["mnist", "fashion_mnist", "digits"] = "mnist"
    validation: NumImages = 5000

    @model_validator(mode="before")
    @classmethod
    def _validation_suits_the_dataset(cls, settings: Any) -> Any:
        return with_default_validation(settings)

    @model_validator(mode="after")
    def _leaves_images_to_train_on(self) -> DatasetConfig:
        available = NUM_TRAINING_IMAGES[self.name]
        if self.validation >= available:
            raise ValueError(
                f"validation ({self.validation}) must be below the {available} training images of {self.name}: "
                "some must be left to train on"
            )
        return self

    @property
    def task(self) -> Task:
        """The shape of the images and the classes."""
        return CATALOG_TASKS[self.name]


class EvaluationConfig(Settings):
    """How robustness is measured: the same for all runs of a sweep, so that they can be compared.

    Attributes:
        epsilon: the attacks' L-infinity radius in pixels of [0, 1]; recipes have an epsilon of their own.
        watch_images: how many validation images are attacked at every report.
        rank_images: how many are attacked, by stronger attacks, at the end.
    """

    epsilon: Epsilon = 0.3
    watch_images: NumImages = 500
    rank_images: NumImages = 1000


class ClassifierConfig(Settings):
    """The network that is made robust (the paper's discriminator), and how it is trained.

    Attributes:
        architecture: one of `trainables.networks.classifiers.CLASSIFIERS`.
        learning_rate: the highest, or a `Schedule`; either is multiplied by the factor of `schedule`.
        schedule: the factor over the run's compute: ``constant``; ``cyclic``, from 0 up to 1 over two fifths, then down
            to 0 (Wong et al. 2020); or ``step``, 0.1 from one half and 0.01 from three quarters.
        optimizer: ``adam``, or ``sgd`` with a momentum of 0.9.
        weight_decay: factor of the weights that is added to their gradient.
        gradient_clip: a longer gradient (L2 norm over all weights) is shortened to this.
        average_decay: decay of an exponential moving average of the weights, which is then what is evaluated and
            exported; it suits the number of updates, about 1 / (1 - decay) of which count. None: the last weights.
    """

    architecture: Literal["small_cnn", "madry_cnn", "mlp"] = "small_cnn"
    learning_rate: LearningRate = 1e-3
    schedule: Literal["constant", "cyclic", "step"] = "constant"
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: Weight = 0.0
    gradient_clip: GradientNorm | None = None
    average_decay: Annotated[float, Field(ge=0, lt=1)] | None = None


class CyclicClassifierConfig(ClassifierConfig):
    """A classifier whose defaults are those of Wong et al. 2020: Adam with a cyclic learning rate up to 5e-3."""

    learning_rate: LearningRate = 5e-3
    schedule: Literal["constant", "cyclic", "step"] = "cyclic"


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
        epsilon: see `AttackConfig`.
        warmup: see `AttackConfig`.
        steps: how many gradient steps.
        reach: total length of all steps, in epsilons.
        clipped_start: whether the random start is clipped to [0, 1]; the images that are trained on always are.
    """

    warmup: Fraction = 0.3
    steps: Annotated[int, Field(ge=1, le=10_000)] = 7
    reach: Annotated[float, Field(gt=0, le=MAX_NUMBER)] = 2.5
    clipped_start: bool = True


class SingleStepAttackConfig(IterativeAttackConfig):
    """An attack whose defaults are those of Wong et al. 2020: one step of 1.25 epsilon from an unclipped start.

    With their settings on MNIST and two seeds, accuracy under PGD-40 was 83 and 84 %; with a clipped start 66 and 0 %.
    """

    warmup: Fraction = 0.0
    steps: Annotated[int, Field(ge=1, le=10_000)] = 1
    reach: Annotated[float, Field(gt=0, le=MAX_NUMBER)] = 1.25
    clipped_start: bool = False


class GeneratorConfig(Settings):
    """The network that perturbs images in the GAN loop, its perturbations, its goal and its training.

    Attributes:
        body: one of `trainables.networks.generators.GENERATOR_BODIES`.
        width: channels of its widest layers.
        output_scale: initial value of the learned factor before the output's tanh.
        image_gradient: the classifier's input gradient as an input channel: ``none``, as it is (``raw``), its ``sign``,
            or ``normalized`` to a root mean square of 1 per image.
        see_label: whether the true label is an input.
        see_perturbation: whether the perturbation so far, as a share of the bound, is an input channel.
        noise: how many normal random numbers are an input.
        perturbation_bound: L-infinity bound of the perturbation in pixels of [0, 1], or a `Schedule`.
        random_start: whether a perturbation starts at a random point within the bound instead of at the image.
        recursions: how many times the network is applied; the result is projected into the bound each time.
        recursion_step: length of each recursion as a share of the bound; a single recursion goes the whole bound.
        warmup: share of the run's compute over which the bound grows linearly from zero; without it small networks may
            come to predict one class for all images.
        goal: ``untargeted``, any wrong label; ``targeted``, the label `target`; ``source_to_target``, the label
            `target` for images of the label `source`, while other images are not perturbed.
        target: see `goal`.
        source: see `goal`.
        loss: one of `trainables.networks.generator_losses.GENERATOR_LOSSES`.
        diversity: weight of how far two draws of noise move an image apart, which the generator maximises.
        saturation_penalty: weight of how far outputs before the tanh are in its flat parts, which the generator
            minimises. Without it a generator that is trained for long within a small bound may learn no more.
        optimizer: ``adam``, or ``sgd`` with a momentum of 0.9.
        learning_rate: a number or a `Schedule`.
        gradient_clip: a longer gradient (L2 norm over all weights) is shortened to this.
        reinitialise_every: after every so many cycles the generator starts again with fresh weights.
        pool: how many earlier copies of the generator are kept; the classifier is trained on perturbations by a random
            one of them and the present generator.
        pool_every: a copy is kept every so many cycles.
        draws: on how many perturbations of each image the classifier is trained.
        minibatch: whether the classifier's turn has ``fresh`` minibatches or the ``same`` as the generator's last turn.
    """

    related = (("goal", "source", "target"), ("diversity", "noise"))

    body: Literal["space_to_depth", "strided", "residual"] = "space_to_depth"
    width: Annotated[int, Field(ge=1, le=512)] = 32
    output_scale: Annotated[float, Field(gt=0, le=MAX_NUMBER)] = 5.0
    image_gradient: Literal["none", "raw", "sign", "normalized"] = "normalized"
    see_label: bool = False
    see_perturbation: bool = False
    noise: Annotated[int, Field(ge=0, le=10_000)] = 0
    perturbation_bound: TrainingEpsilon = 0.3
    random_start: bool = False
    recursions: Annotated[int, Field(ge=1, le=1000)] = 1
    recursion_step: Annotated[float, Field(gt=0, le=1)] = 0.5
    warmup: Fraction = 0.0
    goal: Literal["untargeted", "targeted", "source_to_target"] = "untargeted"
    target: Label | None = None
    source: Label | None = None
    loss: Literal["wrongness", "cross_entropy", "log_wrongness", "margin"] = "wrongness"
    diversity: Weight = 0.0
    saturation_penalty: Weight = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: LearningRate = 1e-3
    gradient_clip: GradientNorm | None = None
    reinitialise_every: Count | None = None
    pool: Annotated[int, Field(ge=0, le=1000)] = 0
    pool_every: Count = 100
    draws: Annotated[int, Field(ge=1, le=1000)] = 1
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
    """How many turns the generator takes per turn of the classifier, and how long a turn is.

    Attributes:
        kind: ``constant`` takes `generator_turns`; ``stepped`` divides the run's compute evenly among `steps`;
            ``adaptive`` lets the generator go on until its failure probability is below `target_generator_loss`.
        generator_turns: for ``constant``, a number or a `Schedule`, of which the nearest whole number counts.
        steps: for ``stepped``, the numbers of turns.
        target_generator_loss: for ``adaptive``, the target: the mean of p(correct) in the generator's last turn or, for
            a goal with a target, of 1 - p(target).
        max_generator_turns: for ``adaptive``, the most turns of the generator in a cycle.
        turn_batches: minibatches in a turn; None for one epoch, the paper's turn.
    """

    kind: Literal["constant", "stepped", "adaptive"] = "constant"
    generator_turns: Annotated[NumTurns | Schedule[NumTurns], Schedulable()] = 1
    steps: Annotated[tuple[NumTurns, ...], Field(min_length=1, max_length=MAX_VALUES)] = (6, 8, 12)
    target_generator_loss: Annotated[float, Field(gt=0, le=MAX_NUMBER)] = 0.6
    max_generator_turns: NumTurns = 700
    turn_batches: Count | None = 1


class TrainingConfig(Settings):
    """Settings of every recipe.

    Attributes:
        dataset: the images.
        evaluation: how robustness is measured.
        classifier: the network that is made robust.
        batch_size: images in a minibatch.
        precision: number format of the networks' training passes. Steps of attacks, losses, weights and evaluations are
            always in float32. A machine that lacks ``bfloat16`` refuses it.
        compute: when training ends, in epochs of standard training of the same classifier.
        report_every: how much compute there is between two reports, likewise.
        seed: of all random numbers of the run.
    """

    related: ClassVar[tuple[tuple[str, ...], ...]] = (("compute", "report_every"),)

    dataset: DatasetConfig = DatasetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    batch_size: NumImages = 128
    precision: Literal["float32", "bfloat16"] = "float32"
    compute: Compute = 10.0
    report_every: Compute = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _reports_seldom_enough(self) -> Self:
        if self.compute / self.report_every > MAX_REPORTS:
            raise ValueError(
                f"report_every ({self.report_every:g}) is too small for compute ({self.compute:g}): "
                f"a run has at most {MAX_REPORTS:,} reports"
            )
        return self


class StandardConfig(TrainingConfig):
    """Standard training: cross-entropy on clean images."""

    trainable: Literal["standard"] = "standard"


class FgsmRetrainingConfig(TrainingConfig):
    """Training on clean and FGSM images, the latter against the present classifier (Goodfellow et al. 2014).

    The loss is clean_weight * clean + (1 - clean_weight) * FGSM.
    """

    trainable: Literal["fgsm_retraining"] = "fgsm_retraining"
    attack: AttackConfig = AttackConfig()
    clean_weight: Fraction = 0.5


class FgsmRandomStartConfig(TrainingConfig):
    """Training on images of one FGSM step from a random start only (Wong et al. 2020)."""

    trainable: Literal["fgsm_random_start"] = "fgsm_random_start"
    classifier: CyclicClassifierConfig = CyclicClassifierConfig()
    attack: SingleStepAttackConfig = SingleStepAttackConfig()


class PgdConfig(TrainingConfig):
    """Training on PGD images only (Madry et al. 2018, with fewer and longer steps and a warm-up of epsilon)."""

    trainable: Literal["pgd"] = "pgd"
    classifier: CyclicClassifierConfig = CyclicClassifierConfig()
    attack: IterativeAttackConfig = IterativeAttackConfig()


class TradesConfig(TrainingConfig):
    """TRADES: loss = clean + beta * KL(clean, adversarial), with images by PGD on that KL term (Zhang et al. 2019)."""

    trainable: Literal["trades"] = "trades"
    classifier: CyclicClassifierConfig = CyclicClassifierConfig()
    attack: IterativeAttackConfig = IterativeAttackConfig()
    beta: Weight = 6.0


class GanConfig(TrainingConfig):
    """The GAN loop (Chu and Collins): turns of a generator and of a classifier in a scheduled ratio.

    Attributes:
        generator: the network that perturbs.
        ratio: whose turn it is.
        pretrain: on how much of the compute the classifier is first trained on clean images alone.
        clean_weight: weight of the clean images in the classifier's loss; that of the perturbed ones is 1 minus it.
    """

    related = (*TrainingConfig.related, ("pretrain", "compute"))

    trainable: Literal["gan"] = "gan"
    generator: GeneratorConfig = GeneratorConfig()
    ratio: RatioConfig = RatioConfig()
    pretrain: Annotated[float, Field(ge=0, le=MAX_NUMBER)] = 1.0
    clean_weight: Fraction = 0.5

    @model_validator(mode="after")
    def _leaves_room_for_the_loop(self) -> GanConfig:
        if self.pretrain >= self.compute:
            raise ValueError(
                f"pretrain ({self.pretrain:g}) must be below compute ({self.compute:g}): nothing is left for the loop"
            )
        return self


CONFIGURATIONS: dict[str, type[TrainingConfig]] = {
    "standard": StandardConfig,
    "fgsm_retraining": FgsmRetrainingConfig,
    "fgsm_random_start": FgsmRandomStartConfig,
    "pgd": PgdConfig,
    "trades": TradesConfig,
    "gan": GanConfig,
}


@cache
def _adapter(classes: tuple[type[TrainingConfig], ...]) -> TypeAdapter[Any]:
    union: Any = Union[classes]  # noqa: UP007 - made from the table
    return TypeAdapter(Annotated[union, Field(discriminator="trainable")])


def parse(settings: dict[str, Any]) -> Any:
    """Return the configuration that nested settings describe.

    Args:
        settings: as in JSON; the key ``trainable`` names the recipe, and every other key has a default.

    Returns:
        The recipe's model, one of `CONFIGURATIONS`.

    Raises:
        pydantic.ValidationError: a key is unknown or a value out of bounds; it lists all such mistakes.
    """
    return _adapter(tuple(CONFIGURATIONS.values())).validate_python(settings)
