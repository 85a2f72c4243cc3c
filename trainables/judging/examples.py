"""What a run's last checkpoint does to single images, as plain arrays for figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.attacks.gradient import fgsm
from trainables.common.process_state import num_local_cpus
from trainables.common.seeds import seed_for
from trainables.config import parse
from trainables.data.tensors import Dataset, Split, load_dataset
from trainables.errors import CheckpointError
from trainables.evaluation.accuracy import evaluating
from trainables.evaluation.epsilon_curve import STEPS, accuracy_by_epsilon, epsilons_in
from trainables.judging.curve_cache import cached_curve
from trainables.storage.checkpoint import RunCheckpoint
from trainables.training import registry
from trainables.training.gan import GanLoop
from trainables.training.loop import TrainingLoop
from trainables.training.machine.runtime import set_num_threads
from trainables.training.success import success_matrix

MAX_CLASSES = 10
"""Of how many classes an image is shown."""

NUM_IMAGES = 500
"""How many validation images are behind each accuracy, at most."""
_MAX_WORKERS = 4  # each holds what an attack needs in memory


@dataclass(frozen=True, eq=False)
class ClassifiedImages:
    """Images and the classifier's predictions of them.

    Attributes:
        images: ``(n, height, width)`` as float32 in [0, 1], or ``(n, height, width, 3)`` in colour.
        predicted: the predicted label of each.
        probabilities: the classifier's probability of that label, in [0, 1].
        bound: the largest perturbation allowed, in pixels of [0, 1]; 0 for clean images.
    """

    images: npt.NDArray[np.float32]
    predicted: list[int]
    probabilities: list[float]
    bound: float


@dataclass(frozen=True, eq=False)
class Examples:
    """The first validation image of each class, at most ten, clean and perturbed, and accuracies on more of them.

    Attributes:
        labels: the true label of each image.
        clean: the images without an attack.
        perturbed: the same images by the attack that perturbed them.
        accuracy_by_epsilon: accuracy in [0, 1] under PGD by the attack's radius.
        num_images: how many validation images are behind each of those accuracies.
        success: the generator's `success_matrix` ``(classes, classes)``; None for a run without a generator.
        classes: the names of the classes.
    """

    labels: list[int]
    clean: ClassifiedImages
    perturbed: dict[str, ClassifiedImages]
    accuracy_by_epsilon: dict[float, float]
    num_images: int
    success: npt.NDArray[np.float32] | None = None
    classes: tuple[str, ...] = ()


def load_run_dataset(settings: dict[str, Any], folder: Path | None = None, device: str | None = None) -> Dataset:
    """Load the dataset of a run onto a device.

    Args:
        settings: the run's complete configuration.
        folder: a folder with the dataset's files, where they are not in the cache.
        device: by default a GPU if there is one.

    Raises:
        DataError: the files cannot be had.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return load_dataset(parse(settings).dataset, folder=folder, device=device)


def render_examples(
    settings: dict[str, Any], checkpoint: RunCheckpoint, dataset: Dataset, *, num_threads: int = 1, code: str = ""
) -> Examples:
    """Attack example images with the networks of a run's last checkpoint.

    The same checkpoint always gives the same examples. Accuracy by epsilon, which takes seconds, is cached; on a CPU it
    is measured at up to four epsilons at once.

    Args:
        settings: the run's complete configuration.
        checkpoint: of its last report.
        dataset: the run's dataset.
        num_threads: see `set_num_threads`.
        code: SHA-256 of the code that attacks; without it, nothing is cached.

    Raises:
        CheckpointError: the checkpoint is missing, cannot be used or does not fit the settings.
    """
    set_num_threads(num_threads)
    loop = _restore_loop(settings, checkpoint, dataset)
    epsilon, seed, norm = loop.config.evaluation.epsilon, loop.config.seed, loop.config.evaluation.norm
    images, labels = dataset.validation.batch(_first_of_each_class(dataset.validation))
    attacked = dataset.validation.head(NUM_IMAGES)
    success = None
    with evaluating(loop.result):
        perturbed = {"FGSM": _classify(loop, fgsm(loop.result, images, labels, epsilon, norm=norm), epsilon)}
        if isinstance(loop, GanLoop):
            by_generator = loop.adversary.perturb(loop.result, images, labels, loop.bound, loop.rng)
            perturbed["generator"] = _classify(loop, by_generator, loop.bound)
            success = success_matrix(loop.result, loop.adversary, attacked, loop.bound, seed).cpu().numpy()
        clean = _classify(loop, images, 0.0)
    workers = min(num_local_cpus(), _MAX_WORKERS) if attacked.device.type == "cpu" else 1

    def measure() -> dict[float, float]:
        return accuracy_by_epsilon(loop.result, attacked, epsilons_in(norm, epsilon), STEPS, seed, norm, workers)

    identity = [code, settings, dataset.digest, len(attacked), dataset.train.device.type]
    curve = cached_curve(identity, loop.result.state_dict(), measure) if code else measure()
    classes = dataset.task.classes
    return Examples(labels.tolist(), clean, perturbed, curve, len(attacked), success, classes)


def _restore_loop(settings: dict[str, Any], checkpoint: RunCheckpoint, dataset: Dataset) -> TrainingLoop:
    state = checkpoint.load()
    config = parse(settings)
    loop = registry.build(config, dataset)
    try:
        # The saved state of the random numbers belongs to the device of the training; here new ones are drawn.
        loop.restore({**state["loop"], "rng": loop.rng.get_state()})
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"the checkpoint in {checkpoint.folder} does not fit its settings: {error}") from error
    loop.rng.manual_seed(seed_for(config.seed, "examples"))
    return loop


def _first_of_each_class(split: Split) -> torch.Tensor:
    """Return the position of the first image of each of the first classes that the split has."""
    positions = [(split.labels == label).nonzero()[0, 0] for label in split.labels.unique()]
    return torch.stack(positions[:MAX_CLASSES])


@torch.no_grad()
def _classify(loop: TrainingLoop, images: torch.Tensor, bound: float) -> ClassifiedImages:
    probabilities, predicted = loop.result(images).softmax(-1).max(-1)
    return ClassifiedImages(_as_pictures(images), predicted.tolist(), probabilities.tolist(), bound)


def _as_pictures(images: torch.Tensor) -> npt.NDArray[np.float32]:
    pictures = images.squeeze(1) if images.shape[1] == 1 else images.permute(0, 2, 3, 1)
    return pictures.cpu().numpy()
