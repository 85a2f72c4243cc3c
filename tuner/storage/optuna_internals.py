"""The undocumented names of Optuna's that are used: all of them, and in no other module.

Optuna has no public name for the number that a storage knows a study or a trial by, and no public way to let a sampler
learn from other trials than those of a study. The obvious detour, a study in memory filled by ``Study.add_trials``, was
measured and rejected. It copies and checks each trial, 15 to 40 ms for every suggestion from 120 trials, and it gives
the trials other ids and numbers, while ``TPESampler`` and ``GPSampler`` tell the trial that they were asked for from
the others by its number, and write what they propose for it to the study's storage, where later suggestions look.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState


def study_id(study: Study) -> int:
    """Return the id of a study in its storage."""
    return study._study_id


def trial_id(trial: FrozenTrial) -> int:
    """Return the id of a trial in its storage; it is not the trial's number in its study."""
    return trial._trial_id


def open_trial(study: Study, trial: FrozenTrial) -> Trial:
    """Return a running trial of a study as an object that takes reports, constraints and attributes."""
    return Trial(study, trial._trial_id)


def every_trial(study: Study) -> list[FrozenTrial]:
    """Return all trials of a study, in the order of their numbers, also where it shows its samplers only some of them.

    With ``HyperbandPruner``, samplers are given a study of the trials of one bracket.
    """
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


METRIC_NAMES = "study:metric_names"
"""System attribute of a study: the names of its objectives, as ``Study.set_metric_names`` writes them."""


def with_listed_constraints(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy of a trial that has its constraints also as earlier releases wrote them: as a list."""
    shown = copy.copy(trial)
    shown.system_attrs = {**trial.system_attrs, "constraints": list(trial.constraints.values())}
    return shown


def fixed_parameters(trial: FrozenTrial) -> dict[str, Any]:
    """Return the values that a trial was enqueued with, by name."""
    return dict(trial.system_attrs.get("fixed_params", {}))


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether a value is one of a distribution's."""
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (TypeError, ValueError, OverflowError):
        return False


class StudyView(Study):
    """A study that shows its samplers a given list of trials; whatever is written goes to the study it was made from.

    Args:
        study: whose name, directions and storage it has.
        trials: what ``get_trials`` returns, and what samplers learn from.
        directions: by default those of the study; others are for trials with other values.
    """

    def __init__(
        self, study: Study, trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection] | None = None
    ) -> None:
        super().__init__(study.study_name, study._storage)
        self._trials = trials
        self._directions = list(directions or self._directions)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]
