"""A pruner for several objectives: a trial is compared by how many others are better in all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.search.sampling.several_objectives import report_attribute

_AT_ONCE = 500  # rows that are compared with all others in one step


class ParetoPruner(BasePruner):
    """Stops trials by their Pareto rank at a step: how many of the trials that reported there dominate it.

    One trial dominates another if it is as good in every objective and better in one (ranks as of Fonseca and Fleming,
    1993). The trials on the front of a step have rank 0, and none of them is stopped.

    Args:
        search: the study that holds the reports; the trials that are pruned have its numbers.
        first: number of the first report at which trials are compared.
        factor: with successive halving, one of so many trials goes on at `first` and at each multiple by the factor;
            None stops at every report from `first` on what is behind half of the trials.
        num_startup: without a factor, how many trials must be complete before any is stopped.
    """

    def __init__(self, search: Study, first: int, factor: int | None, num_startup: int = 0) -> None:
        self._search = search
        self._first = first
        self._factor = factor
        self._num_startup = num_startup

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether a trial is to stop after its last report; arguments are those of ``BasePruner.prune``."""
        step = trial.last_step
        if step is None or not self._compares_at(step):
            return False
        if self._num_startup > len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))):
            return False
        trials, name = self._search.get_trials(deepcopy=False), report_attribute(step)
        points = {each.number: each.user_attrs[name] for each in trials if name in each.user_attrs}
        if trial.number not in points:
            return False
        if np.isnan(points[trial.number]).any():
            return True
        ranks = pareto_ranks(list(points.values()), self._search.directions)
        own = ranks[list(points).index(trial.number)]
        return int((ranks < own).sum()) >= max(len(ranks) // (self._factor or 2), 1)

    def _compares_at(self, step: int) -> bool:
        if self._factor is None:
            return step >= self._first
        rung = self._first
        while rung < step:
            rung *= self._factor
        return rung == step


def pareto_ranks(points: Sequence[Sequence[float]], directions: Sequence[StudyDirection]) -> np.ndarray:
    """Return for each point how many others dominate it; one with a value that is not a number is behind all others.

    Args:
        points: with a value for each objective.
        directions: of the objectives.
    """
    signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
    values = np.array(points, dtype=float) * signs
    values[np.isnan(values).any(1)] = np.inf
    ranks = []
    for begin in range(0, len(values), _AT_ONCE):
        some = values[begin : begin + _AT_ONCE, None]
        dominates = (values[None] <= some).all(-1) & (values[None] < some).any(-1)
        ranks.append(dominates.sum(1))
    return np.concatenate(ranks)
