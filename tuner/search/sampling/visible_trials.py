"""Which trials of a search a sampler learns from, and what a trial counts that was stopped early or still runs.

Such a trial counts with its relative value: its last report, divided by the best report of any trial at the same step.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

NUM_VISIBLE, NUM_BEST = 120, 40
"""How many trials a sampler learns from, and how many of them for being best; the others are the newest.

So the thousandth suggestion takes as long as the hundred-and-twentieth. TPE models the best tenth of them apart.
"""
_END = math.inf  # the step of a complete trial's value


class TrialHistory:
    """What the finished trials of a study come to. They change no more, so each is read once, however many calls.

    Attributes:
        sign: 1 if the objective is maximised, -1 if it is minimised.
        unfinished: trials that may still change.
        best: the best report at each step, and the best value, of trials that keep all constraints.
        constraints: names of all constraints that a finished trial has.

    Args:
        direction: of the study's only objective.
    """

    def __init__(self, direction: StudyDirection) -> None:
        self.sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
        self.unfinished: list[FrozenTrial] = []
        self.best: dict[float, float] = {}
        self.constraints: set[str] = set()
        self._num_known = 0
        self._leaders: dict[float, list[tuple[float, int]]] = {}

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Read the trials that are new or have finished since the last call.

        Args:
            trials: all trials of the study, in the order of their numbers.
        """
        changed = [_numbered(trials, trial.number) for trial in self.unfinished]
        changed += trials[self._num_known :]
        self._num_known = len(trials)
        self.unfinished = [trial for trial in changed if not trial.state.is_finished()]
        for trial in changed:
            if trial.state.is_finished():
                self.constraints.update(trial.constraints)
                if is_feasible(trial):
                    _update_best(self.best, trial, self.sign)
                    self._rank(trial)

    def leaders(self) -> list[int]:
        """Return the numbers of the finished trials that may be among the best: `NUM_BEST` of each last step."""
        return [number for ranked in self._leaders.values() for _, number in ranked]

    def _rank(self, trial: FrozenTrial) -> None:
        step, value = _last_report(trial)
        if value is not None and not math.isnan(value):
            ranked = self._leaders.setdefault(step, [])
            insort(ranked, (-self.sign * value, trial.number))
            del ranked[NUM_BEST:]


def visible_trials(
    trials: Sequence[FrozenTrial], direction: StudyDirection, history: TrialHistory | None = None
) -> list[FrozenTrial]:
    """Return the trials of a study that a sampler learns from, in the order of their numbers.

    A trial that has reported is returned as a complete one whose value is its `relative_value`, so the best possible
    value is 1. If the best value is not above zero, such ratios mean nothing, and all trials are returned unchanged.
    Trials that break a constraint never set the best.

    Args:
        trials: all trials of the study, in the order of their numbers.
        direction: of the study's only objective.
        history: of the same study, which is brought up to date; without one, every trial is read.

    Returns:
        At most `NUM_VISIBLE` trials: the `NUM_BEST` best, and the newest of the others.
    """
    history = history or TrialHistory(direction)
    history.update(trials)
    feasible = [trial for trial in history.unfinished if is_feasible(trial)]
    best = dict(history.best)
    for trial in feasible:
        _update_best(best, trial, history.sign)
    is_comparable = best.get(_END, 1.0) > 0

    def value_of(trial: FrozenTrial) -> float | None:
        return relative_value(trial, best) if is_comparable else None

    chosen: set[int] = set()
    if len(trials) > NUM_VISIBLE:
        candidates = [_numbered(trials, number) for number in history.leaders()] + feasible
        ranked = sorted(
            (-history.sign * value, trial.number) for trial in candidates if (value := value_of(trial)) is not None
        )
        chosen = {number for _, number in ranked[:NUM_BEST]}
    newest = (trial.number for trial in reversed(trials) if trial.number not in chosen)
    chosen |= set(islice(newest, NUM_VISIBLE - len(chosen)))
    names = history.constraints.union(*(trial.constraints for trial in history.unfinished))
    visible = [_numbered(trials, number) for number in sorted(chosen)]
    return [trial if (value := value_of(trial)) is None else _as_complete(trial, value, names) for trial in visible]


def visible_by_number(trials: Sequence[FrozenTrial], numbers: Mapping[int, float]) -> list[FrozenTrial]:
    """Return the trials that a sampler learns from, each that has a number as a complete one with that value.

    Args:
        trials: all trials of the study, in the order of their numbers.
        numbers: by the trial's number; less is better.

    Returns:
        At most `NUM_VISIBLE` trials: the `NUM_BEST` best that keep all constraints, and the newest of the others.
    """
    ranked = sorted((value, number) for number, value in numbers.items() if is_feasible(trials[number]))
    chosen = {number for _, number in ranked[:NUM_BEST]} if len(trials) > NUM_VISIBLE else set()
    newest = (trial.number for trial in reversed(trials) if trial.number not in chosen)
    chosen |= set(islice(newest, NUM_VISIBLE - len(chosen)))
    visible = [trials[number] for number in sorted(chosen)]
    names = {name for trial in visible for name in trial.constraints}
    return [
        _as_complete(trial, numbers[trial.number], names) if trial.number in numbers else trial for trial in visible
    ]


def _numbered(trials: Sequence[FrozenTrial], number: int) -> FrozenTrial:
    """Return the trial of a number; trials of one bracket of a pruner have gaps in their numbers."""
    index = number - trials[0].number
    if index < len(trials) and trials[index].number == number:
        return trials[index]
    return trials[bisect_left(trials, number, key=lambda trial: trial.number)]


def relative_value(trial: FrozenTrial, best: dict[float, float]) -> float | None:
    """Return a trial's value, or its last report, divided by the best one at the same step.

    Args:
        trial: in any state.
        best: see `TrialHistory`.

    Returns:
        None if the trial has neither, or if the best at its step is unknown or not above zero.
    """
    step, value = _last_report(trial)
    if value is None or math.isnan(value) or best.get(step, 0.0) <= 0:
        return None
    return value / best[step]


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether a trial keeps all constraints that it has measured."""
    return all(violation <= 0 for violation in trial.constraints.values())


def _update_best(best: dict[float, float], trial: FrozenTrial, sign: float) -> None:
    """Keep a trial's value and reports where they are the best so far; NaN never is."""
    worst = -sign * math.inf
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if value is not None and sign * value > sign * best.get(_END, worst):
        best[_END] = value
    for step, report in trial.intermediate_values.items():
        if sign * report > sign * best.get(step, worst):
            best[step] = report


def _last_report(trial: FrozenTrial) -> tuple[float, float | None]:
    """Return the step and the value that a trial is compared by: its value if it is complete, else its last report."""
    step, value = _END, trial.value if trial.state == TrialState.COMPLETE else None
    if value is None and trial.state in (TrialState.PRUNED, TrialState.RUNNING):
        return max(trial.intermediate_values.items(), default=(_END, None))
    return step, value


def _as_complete(trial: FrozenTrial, value: float, constraints: Iterable[str]) -> FrozenTrial:
    """Return a trial as if it had completed with a value; constraints that it has not measured yet count as kept."""
    completed = copy.copy(trial)
    completed.state, completed.values = TrialState.COMPLETE, [value]
    completed.system_attrs = dict(trial.system_attrs)
    for name in constraints:
        if name not in trial.constraints:
            completed.set_constraint(name, 0.0)
    return completed
