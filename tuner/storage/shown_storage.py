"""Optuna's journal storage for pages that only show studies."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.journal import JournalReader
from tuner.storage.optuna_internals import METRIC_NAMES, with_listed_constraints


class ShownStorage(JournalStorage):
    """Studies in a journal that is only read, told as optuna-dashboard expects them.

    Objectives have names, the constraints of trials are lists, and no trial that breaks one is the best if another
    does not. Whatever would write is refused by the journal.

    Args:
        journal: which this storage alone reads.
        objectives: names of the objectives, by name of their study.
    """

    def __init__(self, journal: JournalReader, objectives: Mapping[str, Sequence[str]]) -> None:
        super().__init__(journal)
        self._objectives = objectives

    def get_all_studies(self) -> list[Any]:
        """Return all studies, see ``BaseStorage.get_all_studies``."""
        studies = super().get_all_studies()
        for study in studies:
            study.system_attrs |= self._names(study.study_name)
        return studies

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the system attributes of a study, see ``BaseStorage.get_study_system_attrs``."""
        return super().get_study_system_attrs(study_id) | self._names(self.get_study_name_from_id(study_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return a study's trials in the order of their numbers, see ``BaseStorage.get_all_trials``."""
        trials = super().get_all_trials(study_id, deepcopy, states)
        return [with_listed_constraints(trial) if trial.constraints else trial for trial in trials]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the trial with the best value of those that break no constraint; if all do, of all."""
        complete = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
        eligible = [trial for trial in complete if all(value <= 0 for value in trial.constraints.values())]
        if not eligible:
            return super().get_best_trial(study_id)
        sign = -1 if self.get_study_directions(study_id) == [StudyDirection.MINIMIZE] else 1
        return max(eligible, key=lambda trial: sign * (trial.value or 0.0))

    def _names(self, study_name: str) -> dict[str, Any]:
        names = self._objectives.get(study_name)
        return {METRIC_NAMES: list(names)} if names else {}
