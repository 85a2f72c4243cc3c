"""The settings of one training run, a model for each recipe, and the function that makes one of nested settings."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, Union

from pydantic import Field, SerializerFunctionWrapHandler, TypeAdapter, model_serializer, model_validator

from trainables.common.tasks import CATALOG_TASKS
from trainables.config.attacks import (
    AttackConfig,
    EvaluationConfig,
    IterativeAttackConfig,
    NamedAttackConfig,
    SingleStepAttackConfig,
    attack_objection,
    radius_objection,
)
from trainables.config.fields import (
    MAX_FILES,
    MAX_NUMBER,
    CodeName,
    Compute,
    Fraction,
    NumImages,
    Settings,
    Sha256,
    Weight,
)
from trainables.config.generator import GeneratorConfig, RatioConfig
from trainables.config.plugins.registries import RECIPES, Entry, Recipe, RegistryView, explain_value
from trainables.config.sections import AugmentationConfig, ClassifierConfig, CyclicClassifierConfig, DatasetConfig
from trainables.errors import UserError

MAX_REPORTS = 100_000
MAX_REUSED = 50
"""The most minibatches of a turn whose perturbed images are kept for the classifier: 20 MB of MNIST at 128 a batch."""


class TrainingConfig(Settings):
    """Settings of every recipe.

    Attributes:
        dataset: the images.
        evaluation: how robustness is measured.
        classifier: the network that is made robust.
        augmentation: how training images are changed at random.
        batch_size: images in a minibatch.
        precision: number format of the networks' training passes. Steps of attacks, losses, weights and evaluations are
            always in float32. A machine that lacks ``bfloat16`` refuses it.
        compute: when training ends, in epochs of standard training of the same classifier.
        report_every: how much compute there is between two reports, likewise.
        seed: of all random numbers of the run.
        code: the SHA-256 of each file and module of a user's own that the run needs; a launch writes it.
    """

    related: ClassVar[tuple[tuple[str, ...], ...]] = (("compute", "report_every"),)

    dataset: DatasetConfig = DatasetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    batch_size: NumImages = 128
    precision: Literal["float32", "bfloat16"] = "float32"
    compute: Compute = 10.0
    report_every: Compute = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    code: Annotated[dict[CodeName, Sha256], Field(max_length=MAX_FILES)] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_code(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # So that settings without any have the digest that they have always had.
        dumped = handler(self)
        unset = {name for name in ("code", "augmentation") if getattr(self, name) == type(getattr(self, name))()}
        return {name: value for name, value in dumped.items() if name not in unset}

    @model_validator(mode="after")
    def _radii_are_in_pixels(self) -> Self:
        for section, name in (("attack", "epsilon"), ("generator", "perturbation_bound")):
            radius = getattr(getattr(self, section, None), name, None)
            if isinstance(radius, float) and (
                objection := radius_objection(f"{section}.{name}", radius, self.evaluation.norm)
            ):
                raise ValueError(objection)
        return self

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

    Attributes:
        attack: the images that are trained on.
        clean_weight: weight of the clean images in the loss; that of the FGSM images is 1 minus it.
    """

    trainable: Literal["fgsm_retraining"] = "fgsm_retraining"
    attack: AttackConfig = AttackConfig()
    clean_weight: Fraction = 0.5


class AttackTrainingConfig(TrainingConfig):
    """Training on clean images and those of any attack against the present classifier: one of ours, or of others.

    Attributes:
        attack: the images that are trained on.
        clean_weight: weight of the clean images in the loss; that of the attacked ones is 1 minus it.
    """

    related = (*TrainingConfig.related, ("evaluation.norm", "attack.name"))

    trainable: Literal["attack_training"] = "attack_training"
    attack: NamedAttackConfig = NamedAttackConfig()
    clean_weight: Fraction = 0.5

    @model_validator(mode="after")
    def _searches_in_the_norm(self) -> AttackTrainingConfig:
        if self.evaluation.norm == "l2" and attack_objection(self.attack.name) is None:
            raise ValueError(
                f"attack.name ({self.attack.name}) does not go with norm l2: it searches the L-infinity ball"
            )
        return self


class FgsmRandomStartConfig(TrainingConfig):
    """Training on images of one FGSM step from a random start only (Wong et al. 2020).

    Attributes:
        attack: the images that are trained on.
    """

    trainable: Literal["fgsm_random_start"] = "fgsm_random_start"
    classifier: CyclicClassifierConfig = CyclicClassifierConfig()
    attack: SingleStepAttackConfig = SingleStepAttackConfig()


class PgdConfig(TrainingConfig):
    """Training on PGD images only (Madry et al. 2018, with fewer and longer steps and a warm-up of epsilon).

    Attributes:
        attack: the images that are trained on.
    """

    trainable: Literal["pgd"] = "pgd"
    classifier: CyclicClassifierConfig = CyclicClassifierConfig()
    attack: IterativeAttackConfig = IterativeAttackConfig()


class TradesConfig(TrainingConfig):
    """TRADES: loss = clean + beta * KL(clean, adversarial), with images by PGD on that KL term (Zhang et al. 2019).

    Attributes:
        attack: the images that are trained on.
        beta: weight of the term that pulls the predictions of an image and its adversarial one together.
    """

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

    related = (*TrainingConfig.related, ("pretrain", "compute"), ("generator.minibatch", "ratio.turn_batches"))

    trainable: Literal["gan"] = "gan"
    generator: GeneratorConfig = GeneratorConfig()
    ratio: RatioConfig = RatioConfig()
    pretrain: Annotated[float, Field(ge=0, le=MAX_NUMBER)] = 1.0
    clean_weight: Fraction = 0.5

    @model_validator(mode="after")
    def _leaves_room_for_the_loop(self) -> GanConfig:
        self._check_labels()
        if self.pretrain >= self.compute:
            raise ValueError(
                f"pretrain ({self.pretrain:g}) must be below compute ({self.compute:g}): nothing is left for the loop"
            )
        return self

    @model_validator(mode="after")
    def _keeps_few_images(self) -> GanConfig:
        turn = self.ratio.turn_batches
        if self.generator.minibatch == "reused" and (turn is None or turn > MAX_REUSED):
            whole = "an epoch" if turn is None else f"turn_batches ({turn})"
            raise ValueError(
                f"{whole} is too long a turn for minibatch reused, which keeps its images: "
                f"turn_batches must be {MAX_REUSED} or less"
            )
        return self

    def _check_labels(self) -> None:
        if self.dataset.name not in CATALOG_TASKS and self.dataset.content is None:
            return  # how many classes there are is known when somebody has looked at the images
        num_classes = self.dataset.task.num_classes
        for name, label in (("source", self.generator.source), ("target", self.generator.target)):
            if label is not None and label >= num_classes:
                raise ValueError(f"generator.{name} ({label}) must be below {num_classes}, the number of classes")


STANDARD = Recipe(StandardConfig, "trainables.training.recipes:StandardLoop")
FGSM_RETRAINING = Recipe(FgsmRetrainingConfig, "trainables.training.recipes:FgsmRetrainingLoop")
ATTACK_TRAINING = Recipe(AttackTrainingConfig, "trainables.training.recipes:AttackTrainingLoop")
FGSM_RANDOM_START = Recipe(FgsmRandomStartConfig, "trainables.training.recipes:PgdLoop")
PGD = Recipe(PgdConfig, "trainables.training.recipes:PgdLoop")
TRADES = Recipe(TradesConfig, "trainables.training.recipes:TradesLoop")
GAN = Recipe(GanConfig, "trainables.training.gan:GanLoop")


def _config_of(entry: Entry) -> type[TrainingConfig]:
    """Return the class of a recipe's settings.

    Raises:
        UserError: the recipe is a package's and cannot be used.
    """
    recipe = entry.load()
    of_whom = f"the recipe {entry.name} of {entry.package}"
    if not isinstance(recipe, Recipe):
        raise UserError(
            f"{of_whom} must lead to a trainables.config.Recipe with the class of its settings and its loop, not to "
            f"{explain_value(recipe)}"
        )
    config = recipe.config
    if not (isinstance(config, type) and issubclass(config, TrainingConfig)):
        raise UserError(
            f"{of_whom} has {explain_value(config)} for its settings: they are a pydantic model made from "
            "trainables.config.TrainingConfig"
        )
    field = config.model_fields.get("trainable")
    if field is None or field.default != entry.name:
        raise UserError(
            f'{of_whom} needs the field `trainable: Literal["{entry.name}"] = "{entry.name}"` in {config.__name__}'
        )
    return config


CONFIGURATIONS = RegistryView(RECIPES, _config_of)
"""The class of the settings of each recipe, ours and those of installed packages."""


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
        UserError: the recipe is one of an installed package and cannot be used.
    """
    name = settings.get("trainable") if isinstance(settings, dict) else None  # JSON may hold anything
    if isinstance(name, str) and name not in RECIPES.ours and name in CONFIGURATIONS:
        return CONFIGURATIONS[name].model_validate(settings)
    return _adapter(tuple(CONFIGURATIONS[ours] for ours in RECIPES.ours)).validate_python(settings)
