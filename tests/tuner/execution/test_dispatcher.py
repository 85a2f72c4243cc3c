"""What is handed out, put back and counted while the limit of runs at work goes up and down."""

from __future__ import annotations

import errno

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tuner.conftest import SPACE, STEPS, row
from tuner.execution.dispatcher import Dispatcher, Report
from tuner.execution.failures import FailurePolicy
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records


def report(step: int) -> Report:
    return Report(row(step), finished=step == STEPS)


class Machines:
    """Plays Ray's part: every run that is handed out reports once a round."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.steps: dict[str, int] = {}
        self.working: list[str] = []

    def round(self) -> None:
        while (run := self.dispatcher.next_run()) is not None:
            self.working.append(run.key)
        for key in list(self.working):
            self.steps[key] = self.steps.get(key, 0) + 1
            if not self.dispatcher.on_report(key, report(self.steps[key])):
                self.working.remove(key)


@pytest.fixture
def dispatcher(make_sweep) -> Dispatcher:
    return Dispatcher(Ledger(make_sweep()), FailurePolicy(None), limit=lambda: 2)


def test_nothing_is_handed_out_above_the_limit_and_it_is_not_the_end(dispatcher):
    first, second = dispatcher.next_run(), dispatcher.next_run()
    assert {first.key, second.key} == {"baseline-standard", "baseline-fgsm_retraining"}
    assert dispatcher.next_run() is None
    assert not dispatcher.is_done
    dispatcher.fail(first.key, "error: x")
    assert dispatcher.next_run().key == "trial-0000"


def test_a_run_without_memory_is_handed_out_again_and_fails_once_when_no_larger_share_is_left(make_sweep):
    told: list[str] = []
    policy = FailurePolicy(None, gpu=0.25)
    dispatcher = Dispatcher(Ledger(make_sweep()), policy, limit=lambda: 1, tell=told.append)
    out_of_memory = Report({}, failure="out of memory", reason="CUDA out of memory")
    key = dispatcher.next_run().key
    for share in (0.5, 1.0):
        assert not dispatcher.on_report(key, out_of_memory)
        assert not dispatcher.is_running(key)
        assert dispatcher.next_run().key == key
        assert policy.gpu_of(key) == share
    assert told == [
        f"{key} had too little memory in 0.25 of a GPU, and goes on from its last report with 0.5",
        f"{key} had too little memory in 0.5 of a GPU, and goes on from its last report with 1",
    ]
    assert not dispatcher.on_report(key, out_of_memory)
    assert dispatcher.next_run().key != key
    assert policy._num_failures == 1


def test_what_is_above_a_limit_that_falls_is_requeued_at_its_next_report_and_handed_out_first(dispatcher):
    machines = Machines(dispatcher)
    machines.round()
    dispatcher.limit = lambda: 1
    assert dispatcher.num_above_limit == 1
    machines.round()
    [key] = machines.working
    dispatcher.limit = lambda: 2
    assert dispatcher.next_run().key in set(machines.steps) - {key}


def test_while_the_driver_winds_down_everything_is_above_the_limit(make_sweep):
    winding_down = False
    policy = FailurePolicy(None, is_winding_down=lambda: winding_down)
    dispatcher = Dispatcher(Ledger(make_sweep()), policy, limit=lambda: 2)
    machines = Machines(dispatcher)
    machines.round()
    winding_down = True
    assert dispatcher.num_above_limit == 2
    assert dispatcher.is_done
    machines.round()
    assert machines.working == []


def test_it_wants_what_is_left_and_at_the_end_what_is_at_work(dispatcher):
    assert dispatcher.num_wanted == 6
    machines = Machines(dispatcher)
    for _ in range(STEPS):
        machines.round()
    assert dispatcher.num_wanted == 4
    dispatcher.limit = lambda: 9
    machines.round()
    assert dispatcher.next_run() is None
    assert dispatcher.num_wanted == len(machines.working) == 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(limits=st.lists(st.integers(1, 7), max_size=12), last=st.integers(1, 7))
def test_whatever_the_limit_does_every_run_is_trained_to_its_end_once(tmp_path_factory, limits, last):
    sweep = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=tmp_path_factory.mktemp("home"))
    dispatcher = Dispatcher(Ledger(sweep), FailurePolicy(None))
    machines = Machines(dispatcher)
    for limit in limits:
        dispatcher.limit = lambda limit=limit: limit
        machines.round()
        assert len(machines.working) <= limit
    dispatcher.limit = lambda: last
    for _ in range(6 * STEPS + 1):
        machines.round()
    assert dispatcher.is_done
    assert {record.run.key: record.state for record in read_records(sweep)} == dict.fromkeys(machines.steps, "complete")
    assert len(machines.steps) == 6
    assert set(machines.steps.values()) == {STEPS}


class TestStorageThatCannotBeWritten:
    """Whatever is done then gives the sweep up, and leaves the run as it is; other errors are not taken for that."""

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.ECONNRESET])
    @pytest.mark.parametrize(
        ("method", "act"),
        [
            ("next_run", lambda dispatcher, key: dispatcher.next_run()),
            ("report", lambda dispatcher, key: dispatcher.on_report(key, report(1))),
            ("complete", lambda dispatcher, key: dispatcher.on_report(key, report(STEPS))),
            ("fail", lambda dispatcher, key: dispatcher.fail(key, "error: x")),
            ("requeue", lambda dispatcher, key: dispatcher.requeue(key)),
        ],
    )
    def test_in_the_driver(self, dispatcher, monkeypatch, number, method, act):
        key = dispatcher.next_run().key

        def refuse(*arguments):
            raise OSError(number, "cannot")

        monkeypatch.setattr(Ledger, method, refuse)
        if number == errno.ECONNRESET:
            with pytest.raises(OSError, match="cannot"):
                act(dispatcher, key)
            assert dispatcher.policy.fatal is None
        else:
            assert not act(dispatcher, key)
            assert "the sweep cannot be written" in str(dispatcher.policy.fatal)
        assert dispatcher.is_running(key)

    def test_in_a_worker(self, dispatcher):
        key = dispatcher.next_run().key
        assert not dispatcher.on_report(key, Report({}, failure="storage", reason="no space"))
        assert str(dispatcher.policy.fatal) == "the sweep cannot be written: no space"
        assert dispatcher.is_running(key)
