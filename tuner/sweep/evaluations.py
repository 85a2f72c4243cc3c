"""Evaluation results: what attacks measured of a run's classifier on test images, one file per tier in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trainables.storage.checked_json import read_json
from tuner.sweep.runs import Tier

EVALUATION_FILES: dict[Tier, str] = {"rank": "test.json", "final": "final.json"}
"""The file in a run's folder that holds the results of each tier."""


class AttackResult(BaseModel):
    """What one attack of the tier ``final`` achieved.

    Attributes:
        name: of the attack.
        alone: the accuracy under this attack alone; None if it attacked only what earlier attacks had left.
        standing: the accuracy under this attack and all before it.
        seconds: how long it took.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    alone: float | None
    standing: float
    seconds: float


class AutoAttackResult(BaseModel):
    """The accuracy that AutoAttack standard leaves, and how many seconds it took."""

    model_config = ConfigDict(frozen=True, extra="allow")

    accuracy: float
    seconds: float


class EvaluationResults(BaseModel):
    """The results of one tier's attacks on a classifier; accuracies are in [0, 1].

    Attributes:
        tier: the attacks: ``rank`` as runs are ranked by, ``final`` for the strongest.
        dataset: name of the dataset.
        split: ``validation`` or ``test``.
        images: number of images evaluated.
        epsilon: radius of the attacks in pixels of [0, 1].
        seed: of the attacks' random numbers; None in results of earlier releases.
        metrics: accuracies by name, what the gradient-masking checks measured, and ``masking_<check>`` for those made.
        attacks: the attacks of the tier ``final`` in their order.
        accuracy_by_epsilon: pairs of a radius and the accuracy under PGD at that radius.
        autoattack: present if AutoAttack was asked for.
        notes: sentences on how a file was understood, and why an accuracy may not be what the classifier can do.
        asked: the number of images asked for; None for all.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    tier: Tier = "rank"
    dataset: str
    split: Literal["validation", "test"]
    images: int
    epsilon: float
    seed: int | None = None
    metrics: dict[str, float]
    attacks: tuple[AttackResult, ...] = ()
    accuracy_by_epsilon: tuple[tuple[float, float], ...] = ()
    autoattack: AutoAttackResult | None = None
    notes: tuple[str, ...] = ()
    asked: int | None = None


def read_evaluation(folder: Path, tier: Tier = "final") -> EvaluationResults | None:
    """Return the results of a tier's attacks on a run's classifier; None if it has not been evaluated.

    Args:
        folder: of the run.
        tier: the attacks.

    Raises:
        UserError: the file of results is damaged.
    """
    path = folder / EVALUATION_FILES[tier]
    try:
        results = read_json(path, EvaluationResults, remedy="remove it and evaluate the run again")
    except FileNotFoundError:
        return None
    return results if "tier" in results.model_fields_set else results.model_copy(update={"tier": tier})
