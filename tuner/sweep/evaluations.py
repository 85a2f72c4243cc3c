"""Evaluation results: what attacks measured of a run's classifier on test images, one file per tier in its folder."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from trainables.common.tasks import Norm
from trainables.evaluation.earlier_names import rename_results
from trainables.storage.checked_json import parse_json, read_present
from tuner.errors import UserError
from tuner.sweep.runs import Run, Tier

EVALUATION_FILES: dict[Tier, str] = {"rank": "test.json", "final": "final.json"}
"""The file in a run's folder that holds the results of each tier."""
Metrics = Annotated[dict[str, float], AfterValidator(rename_results)]
"""Metrics of a finished classifier; those that an earlier release has written get their present names."""

_REMEDY = "remove it and evaluate the run again"


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
        norm: of the attacks.
        seed: of the attacks' random numbers; None in results of earlier releases.
        metrics: accuracies by name, what the gradient-masking checks measured, and ``masking_<check>`` for those made.
        attacks: the attacks of the tier ``final`` in their order.
        accuracy_by_epsilon: pairs of a radius and the accuracy under PGD at that radius.
        autoattack: present if AutoAttack was asked for.
        notes: sentences on how a file was understood, and why an accuracy may not be what the classifier can do.
        asked: the number of images asked for; None for all.
        run: key of the run that was evaluated; None for a classifier of no sweep, and in results of earlier releases.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    tier: Tier = "rank"
    dataset: str
    split: Literal["validation", "test"]
    images: int
    epsilon: float
    norm: Norm = "linf"
    seed: int | None = None
    metrics: Metrics
    attacks: tuple[AttackResult, ...] = ()
    accuracy_by_epsilon: tuple[tuple[float, float], ...] = ()
    autoattack: AutoAttackResult | None = None
    notes: tuple[str, ...] = ()
    asked: int | None = None
    run: str | None = None


def read_evaluation(run: Run, tier: Tier = "final") -> EvaluationResults | None:
    """Return the results of a tier's attacks on a run's classifier; None if it has not been evaluated.

    Args:
        run: the run.
        tier: the attacks.

    Raises:
        UserError: the file of results is damaged, is that of another run, or is not the one that was written last.
    """
    path = run.folder / EVALUATION_FILES[tier]
    content, recorded = read_present(path, _REMEDY), run.evaluations.get(path.name)
    if content is None and recorded is not None:
        raise UserError(f"{path} is missing: {_again(run)}")
    if content is None:
        return None
    results = parse_json(path, content, EvaluationResults, remedy=_REMEDY, sweep_id=run.sweep_id)
    if recorded not in (None, hashlib.sha256(content).hexdigest()):
        raise UserError(f"{path} is not what was written last: {_again(run)}")
    if results.run is None and run.is_sealed:
        raise UserError(f"{path} does not say of which run it is, as that of an earlier release: {_REMEDY}")
    if results.run not in (None, run.key):
        raise UserError(f"{path} belongs to another run, {results.run}: {_REMEDY}")
    return results if "tier" in results.model_fields_set else results.model_copy(update={"tier": tier})


def _again(run: Run) -> str:
    command = "confirm" if run.kind == "confirm" else "evaluate"
    return f"put the newest copy of it in its place, or `tuner {command} {run.sweep_name}` evaluates the run again"
