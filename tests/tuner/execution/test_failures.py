"""When a run or a sweep is given up, by a clock that the test sets."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.execution.failures import FAILURES_IN_A_ROW, INFRASTRUCTURE_RETRIES, FailurePolicy
from tuner.sweep.runs import Record, Run


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watch(policy: FailurePolicy, clock: Clock, seconds: int) -> list[str]:
    """Look every second; return what was found to hang."""
    found = []
    for _ in range(seconds):
        clock.now += 1.0
        found += policy.timed_out()
    return found


def ended(state: str, reason: str | None = None, number: int = 0) -> Record:
    return Record(Run(f"trial-{number:04d}", "trial", number, {}, Path()), state, reason=reason)


@pytest.mark.parametrize(
    ("gpu", "shares"),
    [(0.125, [0.125, 0.25, 1.0]), (0.3333, [0.3333, 0.6666, 1.0]), (0.5, [0.5, 1.0]), (1.0, [1.0]), (0.0, [0.0])],
)
def test_a_run_without_memory_gets_more_of_a_gpu_until_it_has_a_whole_one(gpu, shares):
    policy = FailurePolicy(None, gpu=gpu)
    for number, share in enumerate(shares):
        assert (policy.gpu_of("a"), policy.memory_retries("a")) == (share, number)
        assert policy.out_of_memory("a") == (number < len(shares) - 1)
    assert policy.gpu_of("b") == gpu


def test_a_run_hangs_when_it_has_not_reported_in_time_and_is_found_once():
    clock = Clock()
    policy = FailurePolicy(10.0, clock)
    policy.heartbeat("a")
    policy.heartbeat("b")
    assert watch(policy, clock, 9) == []
    policy.heartbeat("b")
    assert watch(policy, clock, 3) == ["a"]
    assert policy.worker_died("a", "killed", with_machine=False) is None
    policy.heartbeat("a")
    policy.remove("b")
    assert watch(policy, clock, 30) == ["a"]
    assert policy.worker_died("a", "killed", with_machine=False) == "timeout: no report within 10 s, twice"
    assert policy.reason("b", "killed") == "worker: killed"


def test_without_a_limit_nothing_hangs():
    clock = Clock()
    policy = FailurePolicy(None, clock)
    policy.heartbeat("a")
    assert watch(policy, clock, 10_000) == []


def test_a_run_for_which_others_waited_is_to_blame_and_they_are_not():
    clock = Clock()
    policy = FailurePolicy(60.0, clock)
    for _ in range(2):
        policy.heartbeat("waits")
        assert watch(policy, clock, 62) == ["waits"]
        policy.blame("waits", "hangs")
    assert policy.worker_died("waits", "killed", with_machine=True) is None
    assert policy.worker_died("hangs", "killed", with_machine=True) == "timeout: no report within 60 s, twice"


def test_a_driver_that_stood_still_itself_blames_no_run():
    clock = Clock()
    policy = FailurePolicy(60.0, clock)
    policy.heartbeat("a")
    clock.now += 3600.0
    assert policy.timed_out() == []
    policy.heartbeat("a")
    assert watch(policy, clock, 59) == []


@given(st.lists(st.sampled_from(["complete", "pruned", "error: x", "worker: x", "timeout: x", "diverged: nan"])))
def test_five_failures_in_a_row_and_nothing_else_give_the_sweep_up(endings):
    policy = FailurePolicy(None)
    in_a_row = longest = 0
    for number, ending in enumerate(endings):
        is_failure = ending.split(":")[0] in ("error", "worker", "timeout")
        in_a_row = in_a_row + 1 if is_failure else 0
        longest = max(longest, in_a_row)
        state = ending if ending in ("complete", "pruned") else "failed"
        policy.record_outcome(ended("running", number=number))
        policy.record_outcome(ended(state, ending if state == "failed" else None, number))
    assert (policy.fatal is not None) == (longest >= FAILURES_IN_A_ROW)


def test_what_is_said_of_failures_names_the_last_and_its_reason():
    policy = FailurePolicy(None)
    for number in range(FAILURES_IN_A_ROW):
        policy.record_outcome(ended("failed", "error: Traceback\n  File\nKeyError: 'x'\n", number))
    assert str(policy.fatal) == "5 runs in a row have failed, trial-0004 by: KeyError: 'x'"


@given(st.lists(st.booleans(), max_size=20))
def test_three_deaths_of_workers_are_tried_again_and_any_number_of_their_machines(deaths):
    policy = FailurePolicy(None)
    reasons = [policy.worker_died("a", "killed", with_machine=with_machine) for with_machine in deaths]
    num_own = sum(not with_machine for with_machine in deaths)
    assert (reasons[-1:] == ["worker: killed"]) == (num_own > INFRASTRUCTURE_RETRIES)
    assert policy.worker_died("b", "killed", with_machine=False) is None


def test_a_worker_that_was_killed_for_its_memory_is_named_as_such():
    error = "Task was killed due to the node running low on memory.\nMemory on the node was 15/16 GB"
    assert FailurePolicy(None).reason("a", error).startswith("out of memory: ")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EACCES])
def test_a_disk_that_cannot_be_written_gives_the_sweep_up(number):
    policy = FailurePolicy(None)
    policy.storage_failed(OSError(number, "cannot"))
    assert "the sweep cannot be written" in str(policy.fatal)


def test_other_errors_are_not_taken_for_the_disk():
    policy = FailurePolicy(None)
    with pytest.raises(ConnectionResetError):
        policy.storage_failed(ConnectionResetError(errno.ECONNRESET, "reset"))
    assert policy.fatal is None
