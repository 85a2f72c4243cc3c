"""Judging trained classifiers from disk: by the tier that ranked them, or by the strongest attacks known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainables.config import DatasetConfig, EvaluationConfig, TrainingConfig, parse
from trainables.data import files as data_files
from trainables.data.tensors import Dataset, Split, load
from trainables.evaluation.accuracy import evaluate
from trainables.judging import final
from trainables.judging.autoattack import autoattack_accuracy
from trainables.judging.final import Effort
from trainables.judging.surrogates import rivals
from trainables.networks.bundle import read_bundle, read_checkpoint, read_state_dict


@dataclass(frozen=True)
class Subject:
    """A classifier, what it was trained for, and the seed of its evaluation."""

    classifier: nn.Module
    dataset: DatasetConfig
    evaluation: EvaluationConfig
    seed: int = 0

    @classmethod
    def of_run(cls, config: TrainingConfig, classifier: nn.Module, epsilon: float | None = None) -> Subject:
        """Return the classifier of a run, judged at its own epsilon or at another one."""
        evaluation = config.evaluation if epsilon is None else config.evaluation.model_copy(update={"epsilon": epsilon})
        return cls(classifier, config.dataset, evaluation, config.seed)


def subject_of(
    source: Path, *, architecture: str | None = None, dataset: str | None = None, epsilon: float | None = None
) -> Subject:
    """Return the classifier of a bundle's folder or of a ``state_dict`` file.

    Args:
        source: the folder or the file.
        architecture: of a state dict; by default the one that fits.
        dataset: that a state dict was trained for, MNIST by default.
        epsilon: the attacks' radius in pixels of [0, 1]; by default a bundle's own, and 0.3 for a state dict.

    Raises:
        BundleError: nothing can be read there, or it does not fit.
    """
    if source.is_file():
        classifier = read_state_dict(source, architecture)
        task = DatasetConfig.model_validate({"name": dataset} if dataset else {})
        # What it was trained on is not known; a tenth is enough for whoever asks for validation images.
        held_out = min(task.validation, data_files.num_training_images(task.name) // 10)
        config = TrainingConfig(dataset=task.model_copy(update={"validation": held_out}))
        return Subject.of_run(config, classifier, epsilon)
    return Subject.of_run(*read_bundle(source), epsilon)


def subject_of_run(settings: dict[str, Any], checkpoints: Path) -> Subject:
    """Return the classifier of a run's newest checkpoint.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    config = parse(settings)
    return Subject.of_run(config, read_checkpoint(config, checkpoints))


def rank(
    subject: Subject, split: str, *, data: Path | None = None, num_images: int | None = None, num_threads: int = 1
) -> dict[str, float]:
    """Return the metrics of the tier ``rank``, computed as a training run computes them.

    Args:
        subject: what is judged.
        split: ``validation`` (on as many images as a run's own ranking) or ``test`` (all images).
        data: where the dataset's files were put by hand.
        num_images: only the first images of the split.
        num_threads: see `set_num_threads`.
    """
    metrics: dict[str, float] = rank_verdict(subject, split, data=data, num_images=num_images, num_threads=num_threads)[
        "metrics"
    ]
    return metrics


def rank_verdict(
    subject: Subject, split: str, *, data: Path | None = None, num_images: int | None = None, num_threads: int = 1
) -> dict[str, Any]:
    """Return the metrics of the tier ``rank`` beside what was judged, as plain data; arguments as those of `rank`."""
    set_num_threads(num_threads)
    dataset = _load(subject, data)
    images = _images(subject, dataset, split, num_images)
    epsilon = subject.evaluation.epsilon
    metrics = evaluate(subject.classifier, images, epsilon=epsilon, tier="rank", seed=subject.seed)
    return {"tier": "rank", **_judged(subject, dataset, split, images), "metrics": metrics}


def judge(
    subject: Subject,
    split: str,
    *,
    data: Path | None = None,
    num_images: int | None = None,
    num_threads: int = 1,
    effort: Effort | None = None,
    yardstick: bool = False,
) -> dict[str, Any]:
    """Return what `final.judge` finds, beside what was judged, as plain data.

    Args:
        subject: what is judged.
        split: see `rank`.
        data: where the dataset's files were put by hand.
        num_images: only the first images of the split.
        num_threads: see `set_num_threads`.
        effort: how long the attacks try.
        yardstick: whether AutoAttack standard is run on the same images, for ``autoattack_accuracy``.

    Raises:
        UserError: the rivals cannot be kept in the cache.
        MissingExtraError: AutoAttack is wanted and not installed.
    """
    set_num_threads(num_threads)
    dataset = _load(subject, data)
    images = _images(subject, dataset, split, num_images)
    epsilon = subject.evaluation.epsilon
    verdict = final.judge(
        subject.classifier,
        images,
        epsilon=epsilon,
        training=dataset.train,
        rivals=rivals(dataset, subject.dataset, epsilon),
        effort=effort,
        seed=subject.seed,
    )
    if yardstick:
        verdict["autoattack"] = autoattack_accuracy(subject.classifier, images, epsilon, subject.seed)
    return {"tier": "final", **_judged(subject, dataset, split, images), **verdict}


def set_num_threads(num_threads: int) -> None:
    """Set how many threads torch computes with; the last digit of a float can depend on it."""
    torch.set_num_threads(num_threads)


def _load(subject: Subject, data: Path | None) -> Dataset:
    return load(subject.dataset.name, validation=subject.dataset.validation, folder=data)


def _judged(subject: Subject, dataset: Dataset, split: str, images: Split) -> dict[str, Any]:
    epsilon = subject.evaluation.epsilon
    return {"dataset": dataset.name, "split": split, "images": len(images), "epsilon": epsilon, "seed": subject.seed}


def _images(subject: Subject, dataset: Dataset, split: str, num_images: int | None) -> Split:
    images = dataset.test if split == "test" else dataset.validation.head(subject.evaluation.rank_images)
    return images if num_images is None else images.head(num_images)
