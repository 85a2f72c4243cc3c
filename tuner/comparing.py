"""What a sampler sees of a search: trials that were stopped early, or still train, beside those that ran to the end.

Optuna's samplers learn little from a pruned trial: the Gaussian process leaves it out, and TPE puts it behind every
trial that came further. Here each counts with its share: its last report in units of the best report at the same step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Iterable, Sequence
from itertools import pairwise
from typing import Any

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
        trials = seen(study.get_trials(deepcopy=False), study.direction)
        self.domains = {name: domain for trial in trials for name, domain in trial.distributions.items()}
        self._trials = [_placed(trial) for trial in trials]

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


def seen(trials: Sequence[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
    """Return what a sampler is to see of a study's trials, at most `NUM_SEEN` of them, in their order.

    Those that have reported come as complete ones with their share for a value; if the best value is not above zero,
    all come as they are. A trial that breaks a constraint is nobody's measure.

    Args:
        trials: of one study, in their order.
        direction: of its only objective.
    """
    sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
    constraints = {trial.number: trial.constraints for trial in trials}
    able = [trial for trial in trials if all(violation <= 0 for violation in constraints[trial.number].values())]
    best = _best_reports(able, sign)
    is_shared = best.get(_END, 1.0) > 0
    shares = {trial.number: share for trial in trials if is_shared and (share := _share(trial, best)) is not None}
    ranked = sorted((trial.number for trial in able if trial.number in shares), key=lambda one: -sign * shares[one])
    chosen = set(ranked[:NUM_BEST] if len(trials) > NUM_SEEN else ())
    others = [trial.number for trial in trials if trial.number not in chosen]
    chosen |= set(others[-(NUM_SEEN - len(chosen)) :])
    names = {name for kept in constraints.values() for name in kept}
    return [
        _as_complete(trial, shares[trial.number], names) if trial.number in shares else trial
        for trial in trials
        if trial.number in chosen
    ]


def _best_reports(trials: Sequence[FrozenTrial], sign: float) -> dict[float, float]:
    """Return the best report at every step, and the best value at the end; no number (NaN) is better than none."""
    best: dict[float, float] = {}
    worst = -sign * math.inf
    for trial in trials:
        value = trial.value if trial.state == TrialState.COMPLETE else None
        if value is not None and sign * value > sign * best.get(_END, worst):
            best[_END] = value
        for step, report in trial.intermediate_values.items():
            if sign * report > sign * best.get(step, worst):
                best[step] = report
    return best


def _share(trial: FrozenTrial, best: dict[float, float]) -> float | None:
    """Return a trial's last report in units of the best at its step; None where there is nothing to compare."""
    step, value = _END, trial.value if trial.state == TrialState.COMPLETE else None
    if value is None and trial.state in (TrialState.PRUNED, TrialState.RUNNING):
        step, value = max(trial.intermediate_values.items(), default=(_END, None))
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
