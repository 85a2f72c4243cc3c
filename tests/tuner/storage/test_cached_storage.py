"""The writer's storage: what it says of trials is what the journal says, and old trials are not looked at again."""

from __future__ import annotations

import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from tests.tuner.conftest import SEEDED, train
from tests.tuner.search.test_ledger import PRUNED_SPACE
from tuner.search.ledger import Ledger
from tuner.sweep.reader import open_reader

KINDS = [None, (TrialState.WAITING,), (TrialState.RUNNING,), (TrialState.COMPLETE, TrialState.PRUNED)]


def check(ledger: Ledger, sweep) -> None:
    fresh = open_reader(sweep)
    for study in fresh.get_all_studies():
        for states in KINDS:
            known = ledger._storage.get_all_trials(study._study_id, deepcopy=False, states=states)
            assert known == fresh.get_all_trials(study._study_id, deepcopy=False, states=states)


@pytest.mark.parametrize("changes", [("", ""), PRUNED_SPACE, SEEDED])
def test_it_says_what_the_journal_says(make_sweep, changes):
    sweep = make_sweep(replace=changes)
    ledger = Ledger(sweep)
    check(ledger, sweep)
    runs = [ledger.next_run() for _ in range(3)]
    check(ledger, sweep)
    ledger.requeue(runs[0].key)
    ledger.fail(runs[1].key, "error: for a test")
    train(ledger, runs[2], 0.1)
    check(ledger, sweep)
    for run in iter(Ledger(sweep).next_run, None):
        assert run.key not in (runs[1].key, runs[2].key)
    ledger = Ledger(sweep)
    check(ledger, sweep)
    for run in iter(ledger.next_run, None):
        train(ledger, run, 0.9 - 0.1 * run.number)
        check(ledger, sweep)


def test_what_is_returned_is_the_caller_s_own(make_sweep):
    ledger = Ledger(make_sweep())
    ledger._storage.get_all_trials(0, deepcopy=False).clear()
    train(ledger, ledger.next_run())
    ledger._storage.get_all_trials(1, deepcopy=False).clear()
    assert len(ledger._storage.get_all_trials(1, deepcopy=False)) == 2


def test_a_trial_that_has_ended_is_not_read_again(make_sweep, monkeypatch):
    """However many there are: what a trial costs does not grow with those before it."""
    ledger = Ledger(make_sweep(replace=PRUNED_SPACE, num_trials=60))
    read: list[int] = []
    get_trial = JournalStorage.get_trial
    monkeypatch.setattr(
        JournalStorage, "get_trial", lambda self, trial_id: read.append(trial_id) or get_trial(self, trial_id)
    )
    monkeypatch.setattr(JournalStorage, "get_all_trials", None)
    counts = []
    for run in iter(ledger.next_run, None):
        read.clear()
        train(ledger, run, 0.5 + 0.001 * run.number)
        counts.append(len(read))
        assert len(set(read)) <= 2
    assert max(counts[-20:]) <= max(counts[2:20])


def test_names_of_settings_are_in_memory_once(make_sweep):
    ledger = Ledger(make_sweep())
    one, other = [run for run in iter(ledger.next_run, None) if run.kind == "trial"][:2]
    assert [id(name) for name in one.settings] == [id(name) for name in other.settings]
