"""What a sampler sees of a search: trials that were stopped early, or still train, beside those that ran to the end.

Optuna's samplers learn little from a pruned trial: the Gaussian process leaves it out, and TPE puts it behind every
trial that came further. Here each counts with its share: its last report in units of the best report at the same step.
"""

from __future__ import annotations

import copy
import math
from bisect import insort
from collections.abc import Container, Iterable, Sequence
from itertools import islice, pairwise
from typing import Any
from weakref import WeakKeyDictionary

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

NUM_SEEN, NUM_BEST = 120, 40
"""How many trials a sampler sees, and how many of them for being best; the others are the newest.

So the thousandth question takes as long as the hundred-and-twentieth. TPE takes a tenth of what it sees for good ones.
"""
NUM_DRAWS, NUM_RANDOM_DRAWS = 2, 30
"""How often a point that has been tried is drawn anew, by the sampler and then at random."""
_END = math.inf  # the step of a complete trial's value


class ComparingSampler(BaseSampler):
    """Asks another sampler, which it shows the study as `seen` has it, and choices of rising numbers in their order."""

    def __init__(self, sampler: BaseSampler, seed: int) -> None:
        self._sampler = sampler
        self._random = RandomSampler(seed=seed)
        self._study: _Seen | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Look at the study; the whole trial is drawn from what is seen now."""
        self._study = _Seen(study)
        inferred = self._sampler.infer_relative_search_space(self._study, trial)
        return {name: self._study.domains.get(name, domain) for name, domain in inferred.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw what belongs together; a point of a grid that has been tried, only if no other turns up."""
        shown = self._study or _Seen(study)
        places = {name: _in_order(domain) for name, domain in search_space.items()}

        def draw() -> dict[str, Any]:
            drawn = self._sampler.sample_relative(shown, trial, places)
            return {name: _from_place(search_space[name], value) for name, value in drawn.items()}

        drawn = draw()
        if any(isinstance(domain, FloatDistribution) for domain in search_space.values()):
            return drawn
        tried = [one.params for one in study.get_trials(deepcopy=False) if one.number != trial.number]
        for _ in range(NUM_DRAWS):
            if drawn not in tried:
                return drawn
            drawn = draw()
        for _ in range(NUM_RANDOM_DRAWS):
            if drawn not in tried:
                return drawn
            drawn = {name: self._random.sample_independent(study, trial, name, search_space[name]) for name in drawn}
        return drawn

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter by itself."""
        place = self._sampler.sample_independent(
            self._study or _Seen(study), trial, param_name, _in_order(param_distribution)
        )
        return _from_place(param_distribution, place)


def _in_order(domain: BaseDistribution) -> BaseDistribution:
    """Return the places of a choice of rising numbers, so that what lies between others is known to; or the domain."""
    if not isinstance(domain, CategoricalDistribution) or len(domain.choices) < 3:
        return domain
    numbers = [one for one in domain.choices if isinstance(one, int | float) and not isinstance(one, bool)]
    is_rising = len(numbers) == len(domain.choices) and all(low < high for low, high in pairwise(numbers))
    return IntDistribution(0, len(numbers) - 1) if is_rising else domain


def _from_place(domain: BaseDistribution, value: Any) -> Any:
    """Return the choice at a place, or the value that was drawn."""
    return (
        domain.choices[value]
        if isinstance(domain, CategoricalDistribution) and _in_order(domain) is not domain
        else value
    )


def _placed(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial with the places of its choices of rising numbers."""
    ordered = {name: _in_order(domain) for name, domain in trial.distributions.items()}
    if ordered == trial.distributions:
        return trial
    shown = copy.copy(trial)
    shown.params = {
        name: value
        if ordered[name] is trial.distributions[name]
        else int(trial.distributions[name].to_internal_repr(value))
        for name, value in trial.params.items()
    }
    shown.distributions = ordered
    return shown


class _Seen(Study):
    """A study whose trials are the ones of another as `seen` has them."""

    def __init__(self, study: Study) -> None:
        super().__init__(study.study_name, study._storage)
        history = _histories.setdefault(study, _History(study.direction))
        trials = seen(study.get_trials(deepcopy=False), study.direction, history)
        self.domains = {name: domain for trial in trials for name, domain in trial.distributions.items()}
        self._trials = [_placed(trial) for trial in trials]

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


class _History:
    """What a study's ended trials come to, which change no more: each is looked at once, however often one asks."""

    def __init__(self, direction: StudyDirection) -> None:
        self.sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
        self.open: list[FrozenTrial] = []
        self.best: dict[float, float] = {}
        self.constraints: set[str] = set()
        self._num_known = 0
        self._leaders: dict[float, list[tuple[float, int]]] = {}

    def take(self, trials: Sequence[FrozenTrial]) -> None:
        """Look at the trials that are new or have ended since the last time; all are given, in their order."""
        changed = [trials[one.number - trials[0].number] for one in self.open] + list(trials[self._num_known :])
        self._num_known = len(trials)
        self.open = [trial for trial in changed if not trial.state.is_finished()]
        for trial in changed:
            if trial.state.is_finished():
                self.constraints.update(trial.constraints)
                if _is_able(trial):
                    _note_best(self.best, trial, self.sign)
                    self._rank(trial)

    def leaders(self) -> list[int]:
        """Return the numbers of those that may be among the `NUM_BEST` best ones: as many of every step."""
        return [number for ranked in self._leaders.values() for _, number in ranked]

    def _rank(self, trial: FrozenTrial) -> None:
        step, value = _last_report(trial)
        if value is not None and not math.isnan(value):
            ranked = self._leaders.setdefault(step, [])
            insort(ranked, (-self.sign * value, trial.number))
            del ranked[NUM_BEST:]


_histories: WeakKeyDictionary[Study, _History] = WeakKeyDictionary()


def seen(
    trials: Sequence[FrozenTrial], direction: StudyDirection, history: _History | None = None
) -> list[FrozenTrial]:
    """Return what a sampler is to see of a study's trials, at most `NUM_SEEN` of them, in their order.

    Those that have reported come as complete ones with their share for a value; if the best value is not above zero,
    all come as they are. A trial that breaks a constraint is nobody's measure.

    Args:
        trials: of one study, in their order.
        direction: of its only objective.
        history: of the same study, which then is not looked through again.
    """
    history = history or _History(direction)
    history.take(trials)
    able = [trial for trial in history.open if _is_able(trial)]
    best = dict(history.best)
    for trial in able:
        _note_best(best, trial, history.sign)
    is_shared = best.get(_END, 1.0) > 0

    def share(trial: FrozenTrial) -> float | None:
        return _share(trial, best) if is_shared else None

    first = trials[0].number if trials else 0
    chosen: set[int] = set()
    if len(trials) > NUM_SEEN:
        candidates = [trials[number - first] for number in history.leaders()] + able
        ranked = sorted((-history.sign * value, one.number) for one in candidates if (value := share(one)) is not None)
        chosen = {number for _, number in ranked[:NUM_BEST]}
    newest = (trial.number for trial in reversed(trials) if trial.number not in chosen)
    chosen |= set(islice(newest, NUM_SEEN - len(chosen)))
    names = history.constraints.union(*(trial.constraints for trial in history.open))
    shown = [trials[number - first] for number in sorted(chosen)]
    return [trial if (value := share(trial)) is None else _as_complete(trial, value, names) for trial in shown]


def _is_able(trial: FrozenTrial) -> bool:
    return all(violation <= 0 for violation in trial.constraints.values())


def _note_best(best: dict[float, float], trial: FrozenTrial, sign: float) -> None:
    """Note a trial's reports and its value at the end where they are the best so far; NaN is none."""
    worst = -sign * math.inf
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if value is not None and sign * value > sign * best.get(_END, worst):
        best[_END] = value
    for step, report in trial.intermediate_values.items():
        if sign * report > sign * best.get(step, worst):
            best[step] = report


def _last_report(trial: FrozenTrial) -> tuple[float, float | None]:
    """Return what a trial is compared by, and its step: its value if it is complete, else its last report."""
    step, value = _END, trial.value if trial.state == TrialState.COMPLETE else None
    if value is None and trial.state in (TrialState.PRUNED, TrialState.RUNNING):
        return max(trial.intermediate_values.items(), default=(_END, None))
    return step, value


def _share(trial: FrozenTrial, best: dict[float, float]) -> float | None:
    """Return a trial's last report in units of the best at its step; None where there is nothing to compare."""
    step, value = _last_report(trial)
    if value is None or math.isnan(value) or best.get(step, 0.0) <= 0:
        return None
    return value / best[step]


def _as_complete(trial: FrozenTrial, value: float, constraints: Iterable[str]) -> FrozenTrial:
    """Return a trial as if it had ended with a value; constraints that it has not met yet count as kept."""
    shown = copy.copy(trial)
    shown.state, shown.value = TrialState.COMPLETE, value
    shown.system_attrs = dict(trial.system_attrs)
    for name in constraints:
        if name not in trial.constraints:
            shown.set_constraint(name, 0.0)
    return shown
