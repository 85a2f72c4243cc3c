"""At which step past learning curves would have judged rightly: where they rank trials as the ends of the trials do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from search_spaces.schema import Space
from trainables.common.words import counted
from tuner.search.warm_start import fits
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Rows, read_snapshot

MIN_TRIALS = 20
"""Complete trials without which no step is named: the best quarter of fewer is too few to rank."""
MIN_CORRELATION = 0.7
MIN_AMONG_BEST = 0.5
"""What the rank correlations of all, and of the best quarter alone, must be, at a step and the next one.

On the 108 curves of `tests.benchmarks.curves` with a warm-up of 0.3 of the compute that is so from 3/8 on, where the
best two are still ranked 9th and 13th; at 2/8, where a search that stops trials loses its best, .54 and .18.
"""


@dataclass(frozen=True)
class Curve:
    """The reports of a trial that ran to its end.

    Attributes:
        reports: the value that trials are compared by, by step, before the end.
        compute: of each of these reports.
        end: the value of the first objective at the end. Larger is better, here and in the reports.
    """

    reports: Mapping[int, float]
    compute: Mapping[int, float]
    end: float


@dataclass(frozen=True)
class StepJudgement:
    """How well the reports of one step rank trials.

    Attributes:
        step: number of the report.
        compute: at which it comes.
        trials: that reported then, and ran on to their end.
        correlation: Spearman's rank correlation of the reports with the ends; None if it cannot be told.
        among_best: the same among the best quarter alone.
    """

    step: int
    compute: float
    trials: int
    correlation: float | None
    among_best: float | None

    @property
    def is_right(self) -> bool:
        """Whether both correlations are high enough to stop trials by."""
        return (self.correlation or 0.0) >= MIN_CORRELATION and (self.among_best or 0.0) >= MIN_AMONG_BEST


@dataclass(frozen=True)
class CurveJudgement:
    """How well the reports of each step rank trials.

    Attributes:
        trials: number of trials that ran to their end.
        steps: each but the last.
    """

    trials: int
    steps: tuple[StepJudgement, ...]

    @property
    def first_right(self) -> StepJudgement | None:
        """The first step that judges rightly, and so does the next; None if none does, or of too few trials."""
        if self.trials < MIN_TRIALS:
            return None
        following = (*self.steps[1:], None)
        pairs = zip(self.steps, following, strict=True)
        return next((step for step, then in pairs if step.is_right and (then is None or then.is_right)), None)

    def to_json(self) -> dict[str, object]:
        """Return what ``tuner replay --format json`` prints of it."""
        right = self.first_right
        return {"trials": self.trials, "steps": [asdict(step) for step in self.steps], "first": right and right.step}


def curves_of(space: Space, records: Iterable[Record], rows: Mapping[str, Rows]) -> list[Curve]:
    """Return the curves of the complete trials among records.

    Args:
        space: whose first objective and metric to prune on are used.
        records: of runs.
        rows: the metrics of every report, by the run's key.
    """
    watched, sign, end_sign = space.prune_on.metric, space.prune_on.sign, space.objective.sign
    curves = []
    for record in records:
        if record.run.kind != "trial" or record.state != "complete" or record.value is None:
            continue
        reports = [row for row in rows.get(record.run.key, ()) if watched in row][:-1]
        curves.append(
            Curve(
                {int(row["step"]): sign * row[watched] for row in reports},
                {int(row["step"]): row["compute"] for row in reports},
                end_sign * record.value,
            )
        )
    return curves


def past_curves(space: Space, sweeps: Iterable[SweepFolder]) -> list[Curve]:
    """Return the curves of those complete trials of earlier sweeps that a space contains."""
    curves: list[Curve] = []
    for sweep in sweeps:
        snapshot = read_snapshot(sweep, with_rows=True)
        curves += curves_of(space, (record for record in snapshot.records if fits(space, record)), snapshot.rows)
    return curves


def judge_curves(curves: Sequence[Curve]) -> CurveJudgement:
    """Return how well the reports of each step rank trials as their ends do."""
    steps = sorted({step for curve in curves for step in curve.reports})
    return CurveJudgement(len(curves), tuple(_judge_step(step, curves) for step in steps))


def _judge_step(step: int, curves: Sequence[Curve]) -> StepJudgement:
    there = sorted((curve for curve in curves if step in curve.reports), key=lambda curve: -curve.end)
    best = there[: len(there) // 4]
    compute = float(np.median([curve.compute[step] for curve in there]))
    return StepJudgement(step, compute, len(there), _correlation(step, there), _correlation(step, best))


def _correlation(step: int, curves: Sequence[Curve]) -> float | None:
    """Return the rank correlation of reports with ends; None of fewer than three, or if all of one side are equal."""
    reports, ends = [curve.reports[step] for curve in curves], [curve.end for curve in curves]
    if len(curves) < 3 or len(set(reports)) < 2 or len(set(ends)) < 2:
        return None
    from scipy import stats

    return float(stats.spearmanr(reports, ends).statistic)


def judgement_sentences(judgement: CurveJudgement) -> list[str]:
    """Return from which step on trials could be stopped, as sentences."""
    right = judgement.first_right
    if judgement.trials < MIN_TRIALS:
        trials = counted(judgement.trials, "trial")
        return [f"{trials} ran to the end; {MIN_TRIALS} are needed to tell where a rung may lie."]
    if right is None:
        return [
            f"No step ranks the {judgement.trials} trials that ran to their end as their ends do (rank correlation "
            f"{MIN_CORRELATION:g} of all, {MIN_AMONG_BEST:g} among the best quarter)."
        ]
    return [
        f"From step {right.step} (a compute of {right.compute:.3g}) on, past curves judge rightly: rank correlation "
        f"with the end {right.correlation:.2f}, among the best quarter {right.among_best:.2f}."
    ]
