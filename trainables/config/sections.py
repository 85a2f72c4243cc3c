"""The sections of settings that most recipes have: dataset, evaluation, classifier and attack."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainables.common.tasks import CATALOG_TASKS, Task
from trainables.config.fields import (
    MAX_NUMBER,
    Epsilon,
    Fraction,
    GradientNorm,
    LearningRate,
    NumImages,
    Settings,
    TrainingEpsilon,
    Weight,
)

NUM_TRAINING_IMAGES = {"mnist": 60_000, "fashion_mnist": 60_000, "digits": 1437}
_FEWER_VALIDATION = {"digits": 200}  # by default, of datasets that are too small for the usual 5000


def with_default_validation(dataset: Any) -> Any:
    """Return the settings of a dataset with the number of validation images that suits it, unless they have one.

    Args:
        dataset: settings by key; anything else is returned as it is.
    """
    if isinstance(dataset, dict) and "validation" not in dataset:
        return {**dataset, "validation": _FEWER_VALIDATION.get(str(dataset.get("name")), 5000)}
    return dataset


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
