"""A trained run seen close up: single images under attack, and accuracy by epsilon. Plain arrays and lists come out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.attacks.gradient import fgsm
from trainables.config import parse
from trainables.data.tensors import Dataset, Split
from trainables.errors import CheckpointError
from trainables.evaluation.accuracy import evaluating
from trainables.evaluation.epsilon_curve import EPSILONS, STEPS, accuracy_by_epsilon
from trainables.seeds import seed_for
from trainables.storage import checkpoint
from trainables.training import registry
from trainables.training.gan import GanLoop
from trainables.training.loop import TrainingLoop
from trainables.training.success import success_matrix

NUM_IMAGES = 500


@dataclass(frozen=True, eq=False)
class View:
    """Images ``(n, 28, 28)`` as float32 in [0, 1], perturbed within `bound`, and what the classifier says of each.

    `predicted` are labels, `probabilities` what the classifier gives them, in [0, 1].
    """

    images: npt.NDArray[np.float32]
    predicted: list[int]
    probabilities: list[float]
    bound: float


@dataclass(frozen=True, eq=False)
class Examples:
    """The first validation image of each class, clean and perturbed; `num_images` are behind each accuracy.

    `success` is the `success_matrix` ``(10, 10)`` of the run's generator, None for a run without one.
    """

    labels: list[int]
    clean: View
    perturbed: dict[str, View]
    by_epsilon: dict[float, float]
    num_images: int
    success: npt.NDArray[np.float32] | None = None


def dataset_for(settings: dict[str, Any], folder: Path | None = None) -> Dataset:
    """Return the dataset of a run where it is looked at fastest; ``folder`` is where its files were put by hand.

    Raises:
        DataError: its files cannot be had.
    """
    return registry.dataset_for(parse(settings), folder, "cuda" if torch.cuda.is_available() else "cpu")


def look(settings: dict[str, Any], checkpoints: Path, dataset: Dataset, *, num_threads: int = 1) -> Examples:
    """Return a run's classifier, and its generator if it has one, at work as its newest checkpoint has them.

    The same checkpoint always gives the same examples.

    Args:
        settings: complete, of the run.
        checkpoints: folder of the run's checkpoints.
        dataset: of the run.
        num_threads: that torch computes with from here on; the last digit of a float can depend on it.

    Raises:
        CheckpointError: no checkpoint is there, none can be read, or it does not fit the settings.
    """
    torch.set_num_threads(num_threads)
    loop = _restored(settings, checkpoints, dataset)
    epsilon, seed = loop.config.evaluation.epsilon, loop.config.seed
    images, labels = dataset.validation.batch(_one_of_each_class(dataset.validation))
    attacked = dataset.validation.head(NUM_IMAGES)
    success = None
    with evaluating(loop.classifier):
        perturbed = {"FGSM": _view(loop, fgsm(loop.classifier, images, labels, epsilon), epsilon)}
        if isinstance(loop, GanLoop):
            perturbed["generator"] = _view(loop, loop.perturbed(images, labels), loop.bound)
            success = success_matrix(loop.classifier, loop.adversary, attacked, loop.bound, seed).cpu().numpy()
        clean = _view(loop, images, 0.0)
    curve = accuracy_by_epsilon(loop.classifier, attacked, EPSILONS, STEPS, seed)
    return Examples(labels.tolist(), clean, perturbed, curve, len(attacked), success)


def _restored(settings: dict[str, Any], checkpoints: Path, dataset: Dataset) -> TrainingLoop:
    state = checkpoint.load_newest(checkpoints)
    if state is None:
        raise CheckpointError(f"there is no checkpoint in {checkpoints}")
    config = parse(settings)
    loop = registry.build(config, dataset)
    try:
        # Random numbers are drawn anew, because their state is that of the device that the run was trained on.
        loop.restore({**state["loop"], "rng": loop.rng.get_state()})
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"the checkpoint in {checkpoints} does not fit its settings: {error}") from error
    loop.rng.manual_seed(seed_for(config.seed, "examples"))
    return loop


def _one_of_each_class(split: Split) -> torch.Tensor:
    """Return the place of the first image of every class that there is, in the order of the classes."""
    places = [(split.labels == label).nonzero()[0, 0] for label in split.labels.unique()]
    return torch.stack(places)


@torch.no_grad()
def _view(loop: TrainingLoop, images: torch.Tensor, bound: float) -> View:
    probabilities, predicted = loop.classifier(images).softmax(-1).max(-1)
    return View(images.squeeze(1).cpu().numpy(), predicted.tolist(), probabilities.tolist(), bound)
