"""When a run or a sweep is given up, by a clock that the test sets."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.execution.failures import FAILURES_IN_A_ROW, INFRASTRUCTURE_RETRIES, Guard
from tuner.sweep.runs import Record, Run


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watch(guard: Guard, clock: Clock, seconds: int) -> list[str]:
    """Look every second; return what was found to hang."""
    found = []
    for _ in range(seconds):
        clock.now += 1.0
        found += guard.hanging()
    return found


def ended(state: str, reason: str | None = None, number: int = 0) -> Record:
    return Record(Run(f"trial-{number:04d}", "trial", number, {}, Path()), state, reason=reason)


def test_a_run_hangs_when_it_has_not_reported_in_time_and_is_found_once():
    clock = Clock()
    guard = Guard(10.0, clock)
    guard.hear("a")
    guard.hear("b")
    assert watch(guard, clock, 9) == []
    guard.hear("b")
    assert watch(guard, clock, 3) == ["a"]
    assert guard.died("a", "killed", with_machine=False) is None
    guard.hear("a")
    guard.forget("b")
    assert watch(guard, clock, 30) == ["a"]
    assert guard.died("a", "killed", with_machine=False) == "timeout: no report within 10 s, twice"
    assert guard.reason("b", "killed") == "worker: killed"


def test_without_a_limit_nothing_hangs():
    clock = Clock()
    guard = Guard(None, clock)
    guard.hear("a")
    assert watch(guard, clock, 10_000) == []


def test_a_driver_that_stood_still_itself_blames_no_run():
    clock = Clock()
    guard = Guard(60.0, clock)
    guard.hear("a")
    clock.now += 3600.0
    assert guard.hanging() == []
    guard.hear("a")
    assert watch(guard, clock, 59) == []


@given(st.lists(st.sampled_from(["complete", "pruned", "error: x", "worker: x", "timeout: x", "diverged: nan"])))
def test_five_failures_in_a_row_and_nothing_else_give_the_sweep_up(endings):
    guard = Guard(None)
    in_a_row = longest = 0
    for number, ending in enumerate(endings):
        is_failure = ending.split(":")[0] in ("error", "worker", "timeout")
        in_a_row = in_a_row + 1 if is_failure else 0
        longest = max(longest, in_a_row)
        state = ending if ending in ("complete", "pruned") else "failed"
        guard.note(ended("running", number=number))
        guard.note(ended(state, ending if state == "failed" else None, number))
    assert (guard.trouble is not None) == (longest >= FAILURES_IN_A_ROW)


def test_what_is_said_of_failures_names_the_last_and_its_reason():
    guard = Guard(None)
    for number in range(FAILURES_IN_A_ROW):
        guard.note(ended("failed", "error: Traceback\n  File\nKeyError: 'x'\n", number))
    assert str(guard.trouble) == "5 runs in a row have failed, trial-0004 by: KeyError: 'x'"


@given(st.lists(st.booleans(), max_size=20))
def test_three_deaths_of_workers_are_tried_again_and_any_number_of_their_machines(deaths):
    guard = Guard(None)
    reasons = [guard.died("a", "killed", with_machine=with_machine) for with_machine in deaths]
    num_own = sum(not with_machine for with_machine in deaths)
    assert (reasons[-1:] == ["worker: killed"]) == (num_own > INFRASTRUCTURE_RETRIES)
    assert guard.died("b", "killed", with_machine=False) is None


def test_a_worker_that_was_killed_for_its_memory_is_named_as_such():
    error = "Task was killed due to the node running low on memory.\nMemory on the node was 15/16 GB"
    assert Guard(None).reason("a", error).startswith("out of memory: ")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EACCES])
def test_a_disk_that_cannot_be_written_gives_the_sweep_up(number):
    guard = Guard(None)
    with guard.storage():
        raise OSError(number, "cannot")
    assert "the sweep cannot be written" in str(guard.trouble)


def test_other_errors_are_not_taken_for_the_disk():
    guard = Guard(None)
    with pytest.raises(ConnectionResetError), guard.storage():
        raise ConnectionResetError(errno.ECONNRESET, "reset")
    assert guard.trouble is None
