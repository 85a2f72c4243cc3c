"""What the trials of a search with several objectives reported, and what a weighting of the objectives makes of it.

The study that is searched holds, for each report of a trial, what stands for each objective at that moment: without it
a sampler would learn from complete trials only, and pruning would see one objective.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from itertools import starmap
from random import Random

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.schema import Space

_REPORT = "report."
_END = math.inf  # the step of a complete trial's values
_EVEN_SHARE = 0.05
"""Weight of the sum beside the largest part, as in ParEGO: it decides between trials whose largest part is the same."""

Point = tuple[float, ...]
"""One number for each objective; less is better."""


def reported_objectives(space: Space, metrics: Mapping[str, float]) -> list[float] | None:
    """Return what stands for each objective in one report; None with one objective, or if one cannot be told yet."""
    names = space.watched_metrics
    if len(space.objectives) == 1 or names is None or any(name not in metrics for name in names):
        return None
    return [metrics[name] for name in names]


def report_attribute(step: int) -> str:
    """Return the name of the attribute that keeps what a trial reported at a step."""
    return f"{_REPORT}{step}"


def random_weights(num: int, seed: int) -> list[float]:
    """Return weights of objectives that sum to 1: every such weighting is equally likely."""
    dice = Random(seed)  # noqa: S311 - the same weights every time
    drawn = [dice.expovariate(1.0) for _ in range(num)]
    return [each / sum(drawn) for each in drawn]


class ObjectiveHistory:
    """What the trials of a study with several objectives reported; finished trials are read once, however many calls.

    Args:
        directions: of the objectives.
    """

    def __init__(self, directions: Sequence[StudyDirection]) -> None:
        self._signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
        self._finished: dict[int, tuple[float, Point]] = {}
        self._sorted: dict[float, list[list[float]]] = {}
        self._unfinished: list[int] = []
        self._num_known = 0

    def weighted(self, trials: Sequence[FrozenTrial], weights: Sequence[float]) -> dict[int, float]:
        """Return one number for each trial that has reported, by the trial's number; less is better.

        For each objective a trial has its place: how many trials were better in it at the step of its last report.
        The number is the largest of the weighted places, and a small share of their sum.

        Args:
            trials: all trials of the study, in the order of their numbers.
            weights: of the objectives.
        """
        unfinished = self._update(trials)
        last = {**self._finished, **{number: max(points.items()) for number, points in unfinished.items() if points}}

        def number_of(step: float, point: Point) -> float:
            parts = [
                weight * self._place(step, index, value, unfinished)
                for index, (weight, value) in enumerate(zip(weights, point, strict=True))
            ]
            return max(parts) + _EVEN_SHARE * sum(parts)

        return dict(zip(last, starmap(number_of, last.values()), strict=True))

    def _update(self, trials: Sequence[FrozenTrial]) -> dict[int, dict[float, Point]]:
        """Read what has finished since the last call; return the reports of those that have not."""
        numbers = [*self._unfinished, *range(self._num_known, len(trials))]
        self._num_known = len(trials)
        self._unfinished = [number for number in numbers if not trials[number].state.is_finished()]
        for number in numbers:
            if trials[number].state.is_finished():
                self._keep(trials[number])
        return {number: points_of(trials[number], self._signs) for number in self._unfinished}

    def _keep(self, trial: FrozenTrial) -> None:
        points = points_of(trial, self._signs)
        if not points or trial.state == TrialState.FAIL:
            return
        self._finished[trial.number] = max(points.items())
        if all(violation <= 0 for violation in trial.constraints.values()):
            for step, point in points.items():
                columns = self._sorted.setdefault(step, [[] for _ in point])
                for column, value in zip(columns, point, strict=True):
                    insort(column, value)

    def _place(self, step: float, index: int, value: float, unfinished: Mapping[int, Mapping[float, Point]]) -> int:
        columns = self._sorted.get(step)
        better = bisect_left(columns[index], value) if columns else 0
        return better + sum(step in points and points[step][index] < value for points in unfinished.values())


def points_of(trial: FrozenTrial, signs: Sequence[float]) -> dict[float, Point]:
    """Return what a trial reported at each step, and at its end, by the step; without what is not a number.

    Args:
        trial: of a study with several objectives.
        signs: 1 for an objective that is minimised, -1 for one that is maximised.
    """
    points = {
        float(name.removeprefix(_REPORT)): value for name, value in trial.user_attrs.items() if name.startswith(_REPORT)
    }
    if trial.state == TrialState.COMPLETE and trial.values is not None:
        points[_END] = trial.values
    signed = {
        step: tuple(sign * each for sign, each in zip(signs, value, strict=True)) for step, value in points.items()
    }
    return {step: point for step, point in signed.items() if not any(map(math.isnan, point))}
