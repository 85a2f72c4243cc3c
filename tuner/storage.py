"""Where a sweep's studies lie: a journal in its folder, or one in a database."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.journal import Journal, JournalReader, JournalWriter
from tuner.sweep import Sweep


class WriterStorage(JournalStorage):
    """Studies of their only writer, who knows which trials wait: Optuna looks through all of them for every new one."""

    def __init__(self, journal: JournalWriter) -> None:
        super().__init__(journal)
        self._waiting: dict[int, set[int]] = {}

    def waiting(self, study_id: int) -> set[int]:
        """Return the ids of a study's trials that wait."""
        if study_id not in self._waiting:
            there = super().get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,))
            self._waiting[study_id] = {trial._trial_id for trial in there}
        return self._waiting[study_id]

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial, which may be one that waits."""
        waiting = self.waiting(study_id)
        trial_id = super().create_new_trial(study_id, template_trial)
        if template_trial is not None and template_trial.state == TrialState.WAITING:
            waiting.add(trial_id)
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        """Begin or end a trial; it waits no more."""
        is_done = super().set_trial_state_values(trial_id, state, values)
        for waiting in self._waiting.values():
            waiting.discard(trial_id)
        return is_done

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return a study's trials in the order of their numbers; those that wait, without a look at the others."""
        if states == (TrialState.WAITING,) and not deepcopy:
            return [self.get_trial(trial_id) for trial_id in sorted(self.waiting(study_id))]
        return super().get_all_trials(study_id, deepcopy, states)


def open_writer(sweep: Sweep) -> JournalWriter:
    """Return the journal of a sweep for its one writer: the caller holds the sweep's lock.

    Raises:
        UserError: it is damaged, or its database cannot be used.
    """
    if sweep.study_storage is None:
        return Journal(sweep.journal)
    from tuner.database_journal import DatabaseJournal
    from tuner.seats import seat_of

    return DatabaseJournal(seat_of(sweep.id), sweep.id)


def open_reader(sweep: Sweep) -> JournalStorage | None:
    """Return the studies of a sweep to be read, None where none has begun; a driver may be writing meanwhile.

    Whoever keeps it reads only what is new at each look.

    Raises:
        UserError: it is damaged, or its database cannot be reached.
    """
    if sweep.study_storage is not None:
        from tuner.database_journal import DatabaseReader

        return JournalStorage(DatabaseReader(sweep.study_storage, sweep.id))
    return JournalStorage(JournalReader(sweep.journal)) if sweep.journal.exists() else None
