"""Evaluation of a trained classifier that lies on disk, by the tier that ranks runs or by the strongest attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from trainables.config import DatasetConfig, EvaluationConfig, TrainingConfig, parse
from trainables.config.plugins.references import is_image_path
from trainables.data import files as data_files
from trainables.data.pack import import_images
from trainables.data.tensors import Dataset, Split, load_dataset
from trainables.errors import UserError
from trainables.evaluation.accuracy import evaluate
from trainables.evaluation.attack_table import Attack, further_attacks
from trainables.judging.autoattack import autoattack_accuracy
from trainables.judging.final import AttackBudget, evaluate_final
from trainables.judging.plausibility import find_doubts
from trainables.judging.surrogates import load_surrogates
from trainables.networks.bundle import read_bundle, read_checkpoint
from trainables.networks.normalization import Normalization
from trainables.networks.state_dicts import read_classifier_file
from trainables.storage.checkpoint import RunCheckpoint
from trainables.training.machine.runtime import set_num_threads


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier and what it is evaluated on.

    Attributes:
        classifier: maps images ``(batch, C, H, W)`` to logits.
        dataset: what it was trained on.
        evaluation: the attacks' radius, and how many validation images rank a run.
        seed: of the attacks' random numbers.
        origin: a ``run`` of a sweep, a ``bundle``, or a ``file`` of somebody else's.
        normalization: that the classifier applies to its images.
        notes: sentences on how its file was understood.
        claimed_accuracy: without an attack, in [0, 1], where its file states one.
        code: the SHA-256 of each file and module of a user's own that its evaluation needs.
    """

    classifier: nn.Module
    dataset: DatasetConfig
    evaluation: EvaluationConfig
    seed: int = 0
    origin: Literal["run", "bundle", "file"] = "run"
    normalization: Normalization | None = None
    notes: tuple[str, ...] = ()
    claimed_accuracy: float | None = None
    code: Mapping[str, str] = field(default_factory=dict)

    def further_attacks(self) -> tuple[Attack, ...]:
        """Return the attacks that its evaluation names beside those that always run."""
        return further_attacks(self.evaluation.attacks, self.code, self.evaluation.attack_options)

    @classmethod
    def of_run(cls, config: TrainingConfig, classifier: nn.Module, epsilon: float | None = None) -> TrainedClassifier:
        """Return the classifier of a run, with the run's own evaluation or with another epsilon."""
        evaluation = config.evaluation if epsilon is None else config.evaluation.model_copy(update={"epsilon": epsilon})
        return cls(classifier, config.dataset, evaluation, config.seed, code=config.code)


def load_classifier(
    source: Path,
    *,
    architecture: str | None = None,
    dataset: str | None = None,
    epsilon: float | None = None,
    normalization: Normalization | None = None,
    code: Mapping[str, str] | None = None,
) -> TrainedClassifier:
    """Load the classifier of an exported bundle, or of a file with a ``state_dict``.

    Args:
        source: the bundle's folder, or the file.
        architecture: of a state dict; by default the one that fits.
        dataset: that a state dict was trained on, or the path of images of one's own; by default MNIST.
        epsilon: the attacks' radius in pixels of [0, 1]; by default the bundle's own, and 0.3 for a state dict.
        normalization: of a state dict's images; by default that of its file, or none.
        code: SHA-256 of the file of code that ``architecture`` names.

    Raises:
        BundleError: the files cannot be read or do not fit together.
        UserError: an option for a state dict contradicts the file, or is used for a bundle.
    """
    if source.is_dir():
        if architecture or dataset or normalization:
            raise UserError(f"{source} is a bundle, which says its dataset and architecture, and normalises nothing")
        return replace(TrainedClassifier.of_run(*read_bundle(source), epsilon), origin="bundle")
    task = _dataset_named(dataset) if dataset else DatasetConfig()
    file = read_classifier_file(source, task.task, architecture, normalization, code)
    # Which images it was trained on is not known. A validation split of a tenth leaves some for training.
    if task.validation is not None and task.content is None:
        held_out = min(task.validation, data_files.num_training_images(task.name) // 10)
        task = task.model_copy(update={"validation": held_out})
    config = TrainingConfig(dataset=task)
    return replace(
        TrainedClassifier.of_run(config, file.classifier, epsilon),
        origin="file",
        normalization=file.normalization,
        notes=file.notes,
        claimed_accuracy=file.claimed_accuracy,
    )


def _dataset_named(name: str) -> DatasetConfig:
    if not is_image_path(name):
        return DatasetConfig.model_validate({"name": name})
    about = import_images(name, Path(name).expanduser())
    return DatasetConfig(name=name, validation=about.validation, content=about)


def load_run_classifier(settings: dict[str, Any], checkpoint: RunCheckpoint) -> TrainedClassifier:
    """Load the classifier of a run's last checkpoint.

    Args:
        settings: the run's complete configuration.
        checkpoint: of its last report.

    Raises:
        CheckpointError: the checkpoint is missing or cannot be used.
    """
    config = parse(settings)
    return TrainedClassifier.of_run(config, read_checkpoint(config, checkpoint))


def evaluate_classifier(
    trained: TrainedClassifier,
    split: str,
    *,
    tier: Literal["rank", "final"] = "rank",
    data: Path | None = None,
    shared: str | None = None,
    device: str = "cpu",
    num_images: int | None = None,
    num_threads: int = 1,
    budget: AttackBudget | None = None,
    autoattack: bool = False,
) -> dict[str, Any]:
    """Evaluate a classifier by the attacks of a tier.

    Args:
        trained: the classifier, which is put on the device.
        split: ``validation`` (as many images as rank a run) or ``test`` (all images).
        tier: ``rank``, computed as a training run computes its last report, or ``final``, see `evaluate_final`.
        data: a folder with the dataset's files, where they are not in the cache.
        shared: folder or URL of all shared datasets, see `trainables.data.files.ensure`.
        device: ``cpu``, ``cuda`` or one like ``cuda:1``.
        num_images: use only the first images of the split.
        num_threads: see `set_num_threads`.
        budget: how long the attacks of ``final`` search.
        autoattack: whether ``final`` also runs AutoAttack on the same images.

    Returns:
        Plain data: ``tier``, ``dataset``, ``split``, ``images`` (their number), ``epsilon``, ``seed`` and ``metrics``;
        for ``final`` also what `evaluate_final` returns and, on request, ``autoattack``, see `autoattack_accuracy`.
        ``notes`` is there if there are any: sentences on how a file was understood, see `read_classifier_file`, and on
        why an accuracy may not be what the classifier can do, see `find_doubts`.

    Raises:
        DataError: the dataset cannot be had.
        UserError: the tier is ``final`` and the surrogate models cannot be kept in the cache.
        MissingExtraError: AutoAttack is requested and not installed.
    """
    set_num_threads(num_threads)
    dataset = load_dataset(trained.dataset, folder=data, shared=shared, device=device)
    trained.classifier.to(device)
    images = _select_images(trained, dataset, split, num_images)
    epsilon, seed, norm = trained.evaluation.epsilon, trained.seed, trained.evaluation.norm
    result: dict[str, Any] = {"tier": tier, "dataset": dataset.name, "split": split, "images": len(images)}
    result |= {"epsilon": epsilon, "seed": seed} | ({} if norm == "linf" else {"norm": norm})
    if tier == "rank":
        further = trained.further_attacks()
        result["metrics"] = evaluate(
            trained.classifier, images, epsilon=epsilon, tier=tier, seed=seed, further=further, norm=norm
        )
        return result | _notes(trained, dataset, images)
    result |= evaluate_final(
        trained.classifier,
        images,
        epsilon=epsilon,
        training=dataset.train,
        surrogates=load_surrogates(dataset, trained.dataset, epsilon, norm),
        budget=budget,
        seed=seed,
        further=trained.further_attacks(),
        norm=norm,
    )
    if autoattack:
        result["autoattack"] = autoattack_accuracy(trained.classifier, images, epsilon, seed, norm)
    return result | _notes(trained, dataset, images)


def _notes(trained: TrainedClassifier, dataset: Dataset, images: Split) -> dict[str, list[str]]:
    if trained.origin == "run":
        return {}
    doubts = find_doubts(
        trained.classifier,
        dataset,
        images,
        claimed=trained.claimed_accuracy,
        normalization=trained.normalization,
        is_ours=trained.origin == "bundle",
    )
    notes = [*trained.notes, *doubts]
    return {"notes": notes} if notes else {}


def _select_images(trained: TrainedClassifier, dataset: Dataset, split: str, num_images: int | None) -> Split:
    images = dataset.test if split == "test" else dataset.validation.head(trained.evaluation.rank_images)
    return images if num_images is None else images.head(num_images)
