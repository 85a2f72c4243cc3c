"""Optuna's journal storage with a cache, for the only writer of a journal."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.journal import JournalWriter
from tuner.storage.optuna_internals import trial_id as trial_id_of


@dataclass
class _Trials:
    """A study's trials in the order of their numbers, and the numbers of those that may change."""

    all: list[FrozenTrial] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    waiting: dict[int, None] = field(default_factory=dict)  # a set that keeps their order


class WriterStorage(JournalStorage):
    """Studies in a journal that nobody else writes. Trials that have finished are never read again.

    ``JournalStorage`` reads all trials of a study whenever a trial is asked for, so its cost grows with their number.

    Args:
        journal: which this storage alone reads and writes.
    """

    def __init__(self, journal: JournalWriter) -> None:
        super().__init__(journal)
        self._known: defaultdict[int, _Trials] = defaultdict(_Trials)

    def has_waiting(self, study_id: int) -> bool:
        """Return whether a study has enqueued trials that have not started."""
        return bool(self._read(study_id).waiting)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        """Start or end a trial, see ``BaseStorage.set_trial_state_values``."""
        is_done = super().set_trial_state_values(trial_id, state, values)
        number = self.get_trial(trial_id).number
        for known in self._known.values():
            if number in known.waiting and trial_id_of(known.all[number]) == trial_id:
                del known.waiting[number]
                known.running.add(number)
        return is_done

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return a study's trials in the order of their numbers, see ``BaseStorage.get_all_trials``."""
        if deepcopy:
            return super().get_all_trials(study_id, deepcopy, states)
        known = self._read(study_id)
        if states == (TrialState.WAITING,):
            return [known.all[number] for number in known.waiting]
        return known.all.copy() if states is None else [trial for trial in known.all if trial.state in states]

    def _read(self, study_id: int) -> _Trials:
        """Return a study's trials after reading those that may have changed."""
        known = self._known[study_id]
        for number in list(known.running):
            known.all[number] = trial = self.get_trial(trial_id_of(known.all[number]))
            if trial.state.is_finished():
                known.running.remove(number)
        with contextlib.suppress(KeyError):  # there are no more
            while True:
                trial_id = self.get_trial_id_from_study_id_trial_number(study_id, len(known.all))
                known.all.append(trial := self.get_trial(trial_id))
                if trial.state == TrialState.WAITING:
                    known.waiting[trial.number] = None
                elif not trial.state.is_finished():
                    known.running.add(trial.number)
        return known
