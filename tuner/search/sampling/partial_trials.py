"""A sampler that learns from trials that were stopped early or still run, beside those that ran to the end.

Optuna's samplers learn little from a pruned trial: the Gaussian process leaves it out, and TPE ranks it behind every
trial that came further. `PartialTrialSampler` gives them a value for each, see `tuner.search.sampling.visible_trials`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from tuner.search.sampling.several_objectives import ObjectiveHistory
from tuner.search.sampling.visible_trials import TrialHistory, visible_by_number, visible_trials
from tuner.storage.optuna_internals import StudyView


class PartialTrialSampler(BaseSampler):
    """Wraps a sampler of a study, so that it learns from partial trials, too.

    The wrapped sampler sees the study's `visible_trials`, in which a partial trial is a complete one with its
    `relative_value`. Of a study with several objectives it sees one number for each trial, what `weights` make of
    them: with other weights for each trial, the whole front is searched (ParEGO, Knowles 2006). Categorical parameters
    with three or more increasing numbers are given to it as integers, their indices, so that it knows their order.

    Args:
        sampler: that proposes values, for example ``TPESampler`` or ``GPSampler``.
        weights: of several objectives, see `ObjectiveHistory.weighted`; None with one.
    """

    def __init__(self, sampler: BaseSampler, *, weights: Sequence[float] | None = None) -> None:
        self._sampler = sampler
        self._weights = weights
        self._view: _VisibleStudy | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are sampled jointly; the whole trial is sampled from the trials as they are now.

        Args:
            study: that the trial belongs to.
            trial: for which values are proposed.
        """
        self._view = self._visible(study)
        inferred = self._sampler.infer_relative_search_space(self._view, trial)
        return {name: self._view.domains.get(name, domain) for name, domain in inferred.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return values for the parameters that are sampled jointly.

        Args:
            study: that the trial belongs to.
            trial: for which values are proposed.
            search_space: what `infer_relative_search_space` has returned.
        """
        view = self._view or self._visible(study)
        indexed = {name: _indexed(domain) for name, domain in search_space.items()}

        drawn = self._sampler.sample_relative(view, trial, indexed)
        return {name: _from_index(search_space[name], value) for name, value in drawn.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value for one parameter that is not sampled jointly with others.

        Args:
            study: that the trial belongs to.
            trial: for which a value is proposed.
            param_name: of the parameter.
            param_distribution: its domain.
        """
        value = self._sampler.sample_independent(
            self._view or self._visible(study), trial, param_name, _indexed(param_distribution)
        )
        return _from_index(param_distribution, value)

    def _visible(self, study: Study) -> _VisibleStudy:
        trials = study.get_trials(deepcopy=False)
        if self._weights is not None:
            several = _several.setdefault(study, ObjectiveHistory(study.directions))
            numbers = several.weighted(trials, self._weights)
            return _VisibleStudy(study, visible_by_number(trials, numbers), StudyDirection.MINIMIZE)
        history = _histories.setdefault(study, TrialHistory(study.direction))
        shown = visible_trials(trials, study.direction, history)
        return _VisibleStudy(study, shown, study.direction)


_histories: WeakKeyDictionary[Study, TrialHistory] = WeakKeyDictionary()
_several: WeakKeyDictionary[Study, ObjectiveHistory] = WeakKeyDictionary()


class _VisibleStudy(StudyView):
    """A study's visible trials, with indices for ordered choices; `domains` has the parameters as they are."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial], direction: StudyDirection) -> None:
        self.domains = {name: domain for trial in trials for name, domain in trial.distributions.items()}
        super().__init__(study, [_with_indices(trial) for trial in trials], [direction])


def _indexed(domain: BaseDistribution) -> BaseDistribution:
    """Return the indices of a choice of three or more increasing numbers as a domain; any other domain as it is."""
    if not isinstance(domain, CategoricalDistribution) or len(domain.choices) < 3:
        return domain
    numbers = [choice for choice in domain.choices if isinstance(choice, int | float) and not isinstance(choice, bool)]
    is_increasing = len(numbers) == len(domain.choices) and all(low < high for low, high in pairwise(numbers))
    return IntDistribution(0, len(numbers) - 1) if is_increasing else domain


def _from_index(domain: BaseDistribution, value: Any) -> Any:
    """Return the choice at an index of an ordered choice; of any other domain, the value itself."""
    if isinstance(domain, CategoricalDistribution) and _indexed(domain) is not domain:
        return domain.choices[value]
    return value


def _with_indices(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial with indices for its ordered choices."""
    indexed = {name: _indexed(domain) for name, domain in trial.distributions.items()}
    if indexed == trial.distributions:
        return trial
    converted = copy.copy(trial)
    converted.params = {
        name: value
        if indexed[name] is trial.distributions[name]
        else int(trial.distributions[name].to_internal_repr(value))
        for name, value in trial.params.items()
    }
    converted.distributions = indexed
    return converted
