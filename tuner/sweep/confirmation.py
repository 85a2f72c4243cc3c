"""The result of confirming a sweep, as ``confirm.json`` holds it: the winner, and its lead over each baseline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from trainables.common.valid_json import dump_json
from trainables.evaluation.earlier_names import present_name
from trainables.storage.checked_json import as_json, parse_json, read_present
from tuner.errors import UserError
from tuner.sweep.evaluations import EvaluationResults
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Tier, baseline_name

FORMAT = 1
FILE = "confirm.json"
Interval = tuple[float, float]
_MetricName = Annotated[str, AfterValidator(present_name)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class MeanOverSeeds(_Model):
    """A mean over seeds with its 95 % interval (Student's t), whose bounds are None for a single seed."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


class ConfirmedRun(_Model):
    """One run of a configuration with a fresh seed.

    Attributes:
        run: its key.
        seed: its seed.
        outcome: see `tuner.sweep.runs.Record.outcome`.
        reason: why it failed or was pruned, else None.
        validation: the objective on validation images; None unless the run is complete.
        test: its evaluation on test images; None if there is none.
    """

    run: str
    seed: int
    outcome: str
    reason: str | None
    validation: float | None
    test: EvaluationResults | None


class ConfirmedConfiguration(_Model):
    """A configuration that was run again with fresh seeds.

    Attributes:
        name: key of the run of the search that it comes from.
        label: its trainable, ratio schedule and goal in a few words.
        is_baseline: whether it is a baseline, else a trial.
        elimination_reason: why it cannot win; None if it can.
        settings: complete, but for the seed.
        validation: the objective on validation images; None if no run is complete.
        test: the accuracies on test images by name.
        num_masked: number of complete runs that failed a gradient-masking check on test images.
        runs: in the order of the seeds.
    """

    name: str
    label: str
    is_baseline: bool = Field(validation_alias="baseline", serialization_alias="baseline")
    elimination_reason: str | None = Field(validation_alias="out", serialization_alias="out")
    settings: dict[str, Any]
    validation: MeanOverSeeds | None
    test: dict[_MetricName, MeanOverSeeds]
    num_masked: int = Field(validation_alias="masked", serialization_alias="masked")
    runs: tuple[ConfirmedRun, ...]

    @property
    def display_name(self) -> str:
        """The baseline's name, or the key of the trial."""
        return baseline_name(self.name) or self.name


class Lead(_Model):
    """The winner's lead over a baseline on test images, in pairs of equal seeds.

    Attributes:
        against: name of the baseline.
        label: what was trained in the baseline.
        mean: mean lead.
        interval: the 95 % interval to go by; None for a single pair.
        method: which of the following two `interval` is.
        student: the interval by Student's t.
        bootstrap: the interval by the BCa bootstrap.
        p_value: two-sided, of the paired t-test.
        p_corrected: the same with Holm's correction for the number of baselines.
        num_pairs: number of seeds that both have.
    """

    against: str
    label: str
    mean: float
    interval: Interval | None
    method: Literal["student", "bootstrap"]
    student: Interval | None
    bootstrap: Interval | None
    p_value: float
    p_corrected: float
    num_pairs: int = Field(validation_alias="pairs", serialization_alias="pairs")


class Confirmation(_Model):
    """What confirming a sweep has found; the content of ``confirm.json``.

    Attributes:
        format: version of the file's format.
        sweep: the sweep's name.
        sweep_id: the sweep's id.
        metric: the objective by which the winner was chosen, on validation images.
        mode: ``max`` or ``min``.
        tier: attacks by which the test images were evaluated.
        validation_images: number of validation images behind each value of the objective.
        images: number of test images.
        epsilon: radius of the attacks in pixels of [0, 1].
        top: number of the search's best configurations that were run again.
        seeds: the fresh seeds.
        test_metric: the metric of the leads: the objective, or robust accuracy if no test evaluation has the objective.
        winner: name of the winning configuration; None if none can win.
        run: key of the winner's run with the median objective.
        tied: names of the configurations that the objective does not tell from the winner.
        differences: the winner's lead over each baseline.
        configurations: all of them, baselines included.
    """

    format: int
    sweep: str
    sweep_id: str
    metric: _MetricName
    mode: Literal["max", "min"]
    tier: Tier
    validation_images: int
    images: int
    epsilon: float
    top: int
    seeds: tuple[int, ...]
    test_metric: _MetricName
    winner: str | None
    run: str | None
    tied: tuple[str, ...]
    differences: tuple[Lead, ...]
    configurations: tuple[ConfirmedConfiguration, ...]

    def to_json(self) -> str:
        """Return the content of ``confirm.json``."""
        return dump_json(self._plain())

    def write(self, sweep: SweepFolder, record: Callable[[str], None]) -> None:
        """Write ``confirm.json``, which appears whole; the caller holds the sweep's lock.

        Args:
            sweep: that was confirmed.
            record: writes the file's digest into the study, by which a missing or older file is noticed.
        """
        content = as_json(self._plain())
        record(hashlib.sha256(content).hexdigest())
        sweep.store.write(sweep.folder / FILE, content)

    def _plain(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, exclude_unset=True)

    def main_numbers(self) -> dict[str, float]:
        """Return the number of seeds, the winner's accuracy with its interval, and its leads, by name."""
        numbers: dict[str, float | None] = {"seeds": len(self.seeds)}
        for configuration in self.configurations:
            if configuration.name == self.winner:
                test = configuration.test[self.test_metric]
                numbers |= {self.test_metric: test.mean}
                numbers |= {f"{self.test_metric}_low": test.low, f"{self.test_metric}_high": test.high}
        for lead in self.differences:
            numbers |= {f"lead/{lead.against}": lead.mean, f"p_value/{lead.against}": lead.p_corrected}
        return {name: value for name, value in numbers.items() if value is not None}


def read_confirmation(sweep: SweepFolder, recorded: object = None) -> Confirmation | None:
    """Return the result of confirming a sweep; None if it has not been confirmed.

    Args:
        sweep: the sweep.
        recorded: digest of the file by the study; None if it is not known.

    Raises:
        UserError: another release wrote the file, it is damaged, or it is not the one that was written last.
    """
    path, remedy = sweep.folder / FILE, f"`tuner confirm {sweep.name}` writes it again"
    content = read_present(path, remedy)
    if content is None and recorded is not None:
        raise UserError(f"{path} is missing: {remedy}")
    if content is None:
        return None
    confirmation = parse_json(path, content, Confirmation, remedy=remedy, formats=(FORMAT,), sweep_id=sweep.id)
    if recorded not in (None, hashlib.sha256(content).hexdigest()):
        raise UserError(f"{path} is not what was written last: {remedy}")
    return confirmation
