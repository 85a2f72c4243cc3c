"""The sections of settings that most recipes have: dataset, classifier and augmentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from trainables.common.tasks import CATALOG_TASKS, Task
from trainables.config.fields import (
    AS_TUPLE,
    ClassName,
    Fraction,
    GradientNorm,
    LearningRate,
    NumChannels,
    NumOwnImages,
    Settings,
    Sha256,
    Side,
    Weight,
)
from trainables.config.plugins.options import Options, checked_options
from trainables.config.plugins.references import MAX_NAME, code_reference, is_image_path
from trainables.config.plugins.registries import CLASSIFIERS, DATASETS, objection
from trainables.errors import UserError

NUM_TRAINING_IMAGES = {"mnist": 60_000, "fashion_mnist": 60_000, "digits": 1437, "cifar10": 50_000, "cifar100": 50_000}
HAVE_UNOFFICIAL_FILES = ("cifar10", "cifar100")
"""Datasets of which files that are not known to be the official ones can be used, and are identified as one's own."""
_FEWER_VALIDATION = {"digits": 200}  # by default, of datasets that are too small for the usual 5000


_SIZES = {"preact_resnet18": ("width",), "wide_resnet_28_10": ("width", "depth")}
"""Which sizes of networks can be set."""
_OF_NETWORKS = ("width", "depth")


def with_default_validation(dataset: Any) -> Any:
    """Return the settings of a dataset with the number of validation images that suits it, unless they have one.

    Args:
        dataset: settings by key; anything else is returned as it is.
    """
    if not isinstance(dataset, dict) or "validation" in dataset:
        return dataset
    name = str(dataset.get("name", "mnist"))
    content = dataset.get("content")
    if name not in CATALOG_TASKS or content:  # the images themselves say how many there are
        return {**dataset, "validation": content.get("validation") if isinstance(content, dict) else None}
    return {**dataset, "validation": _FEWER_VALIDATION.get(name, 5000)}


def without_what_is_not_set(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a dataset without keys for images of one's own that have no value.

    So settings of datasets of the catalogue have the digest that they have always had.
    """
    usual = {"memory": "auto"}
    kept = {key: value for key, value in dataset.items() if value != usual.get(key, dataset)}
    return {key: value for key, value in kept.items() if key in ("name", "validation") or value is not None}


def dataset_objection(name: str) -> str | None:
    """Return why a dataset cannot have a name, or None when it can.

    It can be that of a dataset of the catalogue or of a plug-in, the path of a folder or of a file of arrays, or a
    function in a module or file.
    """
    known = (*CATALOG_TASKS, *DATASETS.names())
    if name in known or is_image_path(name) or code_reference(name):
        return None
    return objection(name, known, "the path of images of your own, like './images'")


class DataContent(Settings):
    """What was found in images of a user's own; a launch writes it beside their name.

    Attributes:
        sha256: of the file that the images are kept in.
        image_shape: channels, height and width.
        classes: their names, in the order of the labels.
        train: how many images there are to train on.
        validation: how many are held out, for the accuracies that a search sees.
        test: how many are for the test.
        most_frequent: share of the training images that are of the most frequent class.
    """

    sha256: Sha256
    image_shape: Annotated[tuple[NumChannels, Side, Side], AS_TUPLE]
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=1000), AS_TUPLE]
    train: NumOwnImages
    validation: NumOwnImages
    test: NumOwnImages
    most_frequent: Fraction


class DatasetConfig(Settings):
    """The images to train on.

    Attributes:
        name: which dataset: one of the catalogue, the path of a folder of images by class or of an ``.npz`` or
            ``.safetensors`` file, or a function that returns images.
        validation: how many training images are held out, for the accuracies that a search sees; by default as many as
            suit the dataset.
        test: how many images of one's own are held out for the test; by default 15 %, or those that are apart already.
        memory: where the images lie while a run trains: on its ``device``, on the ``host``, or (``auto``) on the host
            if they need more than half of the device's memory. The numbers are the same.
        content: what was found in images of one's own; `tuner launch` writes it.
    """

    related = (("name", "validation"),)

    name: Annotated[str, Field(max_length=MAX_NAME)] = "mnist"
    validation: NumOwnImages | None = 5000
    test: NumOwnImages | None = None
    memory: Literal["auto", "device", "host"] = "auto"
    content: DataContent | None = None

    @model_validator(mode="before")
    @classmethod
    def _validation_suits_the_dataset(cls, settings: Any) -> Any:
        return with_default_validation(settings)

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if objection := dataset_objection(name):
            raise ValueError(objection)
        return name

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_what_is_not_set(handler(self))

    @model_validator(mode="after")
    def _leaves_images_to_train_on(self) -> DatasetConfig:
        if self.name not in CATALOG_TASKS:
            return self
        if self.content is not None and self.name in HAVE_UNOFFICIAL_FILES:
            return self._fits_the_catalogue(self.content)
        if self.content or self.test:
            raise ValueError(f"test and content are for images of your own: {self.name} has its own")
        available = NUM_TRAINING_IMAGES[self.name]
        if self.validation is None:
            raise ValueError(f"validation must be a number: {self.name} has no validation images of its own")
        if self.validation >= available:
            raise ValueError(
                f"validation ({self.validation}) must be below the {available} training images of {self.name}: "
                "some must be left to train on"
            )
        return self

    def _fits_the_catalogue(self, content: DataContent) -> DatasetConfig:
        task = CATALOG_TASKS[self.name]
        if content.image_shape != task.image_shape or len(content.classes) != task.num_classes:
            raise ValueError(f"content is not that of {self.name}: other images or classes; launch the space again")
        return self

    @property
    def wanted(self) -> dict[str, int | None]:
        """How many images of one's own are split off to validate and to test on, as asked for."""
        return {"validation": self.validation, "test": self.test}

    @property
    def task(self) -> Task:
        """The shape of the images and the classes.

        Raises:
            UserError: the images are a user's own, and nobody has looked at them yet.
        """
        if self.name in CATALOG_TASKS and self.content is None:
            return CATALOG_TASKS[self.name]
        if self.content is None:
            raise UserError(f"dataset.content is missing: `tuner launch` and `tuner train` find it in {self.name}")
        return Task(self.content.image_shape, self.content.classes, self.content.most_frequent)


class ClassifierConfig(Settings):
    """The network that is made robust (the paper's discriminator), and how it is trained.

    Attributes:
        architecture: a row of `trainables.config.plugins.registries.CLASSIFIERS`, or a function of one's own:
            ``net.py:build`` in a file, ``package.module:build`` in an installed module.
        width: channels of the first stage of a residual network: 64 in ``preact_resnet18`` and 160 in
            ``wide_resnet_28_10`` by default. Less makes it cheaper, by the square.
        depth: of ``wide_resnet_28_10``, 6n + 4; 28 by default.
        options: settings of a network of an installed package, if it has any.
        start: the weights to start from, instead of random ones: the path of a file of ``torch.save`` or safetensors
            with a state dict, or of a bundle's folder. Where it was trained for another number of classes, the last
            layer starts from random weights.
        learning_rate: the highest, or a `Schedule`; either is multiplied by the factor of `schedule`.
        schedule: the factor over the run's compute: ``constant``; ``cyclic``, from 0 up to 1 over two fifths, then down
            to 0 (Wong et al. 2020); or ``step``, 0.1 from one half and 0.01 from three quarters.
        optimizer: ``adam``, or ``sgd`` with a momentum of 0.9.
        weight_decay: factor of the weights that is added to their gradient.
        gradient_clip: a longer gradient (L2 norm over all weights) is shortened to this.
        average_decay: decay of an exponential moving average of the weights, which is then what is evaluated and
            exported; it suits the number of updates, about 1 / (1 - decay) of which count. None: the last weights.
    """

    related = (("architecture", "width", "depth", "options"),)

    architecture: Annotated[str, Field(max_length=MAX_NAME)] = "small_cnn"
    width: Annotated[int, Field(ge=1, le=1024)] | None = None
    depth: Annotated[int, Field(ge=10, le=100)] | None = None
    options: Options = Field(default_factory=dict)
    start: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] | None = None
    learning_rate: LearningRate = 1e-3
    schedule: Literal["constant", "cyclic", "step"] = "constant"
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: Weight = 0.0
    gradient_clip: GradientNorm | None = None
    average_decay: Annotated[float, Field(ge=0, lt=1)] | None = None

    @field_validator("architecture")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in CLASSIFIERS and code_reference(name) is None:
            raise ValueError(objection(name, CLASSIFIERS.names(), "a function of your own, like 'net.py:build'"))
        return name

    @model_validator(mode="after")
    def _has_these_sizes(self) -> ClassifierConfig:
        for name in self.sizes:
            if name not in _SIZES.get(self.architecture, ()):
                those = " and ".join(network for network, sizes in _SIZES.items() if name in sizes)
                raise ValueError(f"{name} must be left out: {self.architecture} has none, only {those}")
        if self.depth is not None and (self.depth - 4) % 6:
            raise ValueError(f"depth ({self.depth}) must be 6n + 4, n blocks in each stage: 10, 16, 22, 28, 34, ...")
        if self.options:
            checked_options(CLASSIFIERS, self.architecture, self.options)
        return self

    @model_serializer(mode="wrap")
    def _without_usual_sizes(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # So that settings without any have the digest that they have always had.
        return {
            name: value
            for name, value in handler(self).items()
            if name not in (*_OF_NETWORKS, "options", "start") or value
        }

    @property
    def sizes(self) -> dict[str, int]:
        """The width and the depth, of those that are set."""
        return {name: getattr(self, name) for name in _OF_NETWORKS if getattr(self, name) is not None}

    @property
    def network_options(self) -> dict[str, Any]:
        """What is set of the network itself: width and depth, and settings of an installed package's."""
        return {**self.sizes, **self.options}


class CyclicClassifierConfig(ClassifierConfig):
    """A classifier whose defaults are those of Wong et al. 2020: Adam with a cyclic learning rate up to 5e-3."""

    learning_rate: LearningRate = 5e-3
    schedule: Literal["constant", "cyclic", "step"] = "cyclic"


class AugmentationConfig(Settings):
    """How training images are changed at random, each time that they are drawn; attacks start from the changed images.

    Attributes:
        crop: by up to how many pixels they are shifted each way; black comes in at the edges. 4 is usual on CIFAR-10.
        flip: whether half of them are mirrored from left to right. Not for digits or letters.
    """

    crop: Annotated[int, Field(ge=0, le=64)] = 0
    flip: bool = False
