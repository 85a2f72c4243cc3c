"""The policy of retries: what is tried again, how long it waits, and when it gives up."""

from __future__ import annotations

import pytest
import tenacity

from trainables.common.retries import RetryPolicy


@pytest.fixture
def clock(monkeypatch):
    """Return the waits; time passes by them alone."""
    waits: list[float] = []
    monkeypatch.setattr("trainables.common.retries.time.sleep", waits.append)
    monkeypatch.setattr("tenacity.time.monotonic", lambda: 1000.0 + sum(waits))
    return waits


def failing(num: int, error: BaseException):
    """Return an action that fails so many times, and the list of its calls."""
    calls: list[int] = []

    def action() -> str:
        calls.append(len(calls))
        if len(calls) <= num:
            raise error
        return "done"

    return action, calls


def always(error: Exception) -> bool:
    return True


def test_what_passes_is_tried_again_after_waits_that_double_up_to_a_bound(clock):
    action, calls = failing(5, OSError("away"))
    assert RetryPolicy(0.1, 0.5).call(action, always) == "done"
    assert len(calls) == 6
    assert clock == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


def test_without_a_failure_nothing_waits(clock):
    assert RetryPolicy(1.0).call(lambda: 7, always, lambda error, left_s: pytest.fail("there was none")) == 7
    assert clock == []


def test_it_gives_up_when_its_patience_ends_and_raises_the_error_itself(clock):
    error = OSError("away")
    action, calls = failing(99, error)
    with pytest.raises(OSError, match="away") as raised:
        RetryPolicy(1.0, patience_s=6.0).call(action, always)
    assert raised.value is error
    assert clock == [1.0, 2.0, 4.0]
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("policy", "num"), [(RetryPolicy(1.0, patience_s=0.0), 1), (RetryPolicy(0.0, num_attempts=3), 3)]
)
def test_the_number_of_attempts_is_bounded(clock, policy, num):
    action, calls = failing(99, OSError())
    with pytest.raises(OSError):  # noqa: PT011
        policy.call(action, always)
    assert len(calls) == num


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt()])
def test_what_does_not_pass_is_raised_at_once(clock, error):
    action, calls = failing(99, error)
    with pytest.raises(type(error)):
        RetryPolicy(1.0).call(action, lambda error: isinstance(error, OSError))
    assert len(calls) == 1


def test_a_wait_can_be_cut_short(clock):
    waits: list[float] = []
    action, _ = failing(2, OSError())
    assert RetryPolicy(1.0).call(action, always, sleep=waits.append) == "done"
    assert (waits, clock) == ([1.0, 2.0], [])


def test_the_first_failure_is_told_with_the_time_that_is_left(clock):
    told: list[tuple[str, float]] = []
    action, _ = failing(3, OSError("away"))
    RetryPolicy(1.0, patience_s=60.0).call(action, always, lambda error, left_s: told.append((str(error), left_s)))
    assert told == [("away", 60.0)]


def test_nothing_of_the_library_is_configured_for_the_whole_process(clock):
    before = dict(vars(tenacity))
    action, _ = failing(1, OSError())
    RetryPolicy(1.0).call(action, always)
    assert dict(vars(tenacity)) == before
