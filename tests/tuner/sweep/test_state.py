"""How a sweep stands, from its folder."""

from __future__ import annotations

import pytest

from tests.tuner.conftest import row, train, train_all
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.snapshot import read_snapshot
from tuner.sweep.state import ALL_FAILED


def state_of(sweep: SweepFolder) -> tuple[str, str]:
    snapshot = read_snapshot(sweep)
    return snapshot.state, snapshot.reason


def test_interrupted_running_and_completed(make_sweep):
    sweep = make_sweep()
    assert state_of(sweep) == ("interrupted", "")
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    assert state_of(sweep) == ("interrupted", "")
    with sweep.lock():
        assert state_of(sweep) == ("running", "")
    train_all(Ledger(sweep))
    assert state_of(sweep) == ("completed", "")


def test_given_up_until_somebody_goes_on(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    ledger.give_up("5 runs in a row have failed")
    assert state_of(sweep) == ("failed", "5 runs in a row have failed")
    again = Ledger(sweep)
    again.give_up("")
    assert state_of(sweep) == ("interrupted", "")
    size = sweep.journal.stat().st_size
    again.give_up("")
    assert sweep.journal.stat().st_size == size


@pytest.mark.parametrize(("num_good", "expected"), [(0, ("failed", ALL_FAILED)), (1, ("completed", ""))])
def test_a_sweep_of_which_no_run_could_be_trained_has_failed(make_sweep, num_good, expected):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    for number, run in enumerate(iter(ledger.next_run, None)):
        if number < num_good:
            ledger.complete(run.key, row(3))
        else:
            ledger.fail(run.key, "error: no")
    assert state_of(sweep) == expected
