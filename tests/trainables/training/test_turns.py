"""The counter of turns, traced: G is a generator minibatch, C a classifier one."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.training.ratio import Adaptive, Constant, Stepped, TurnCounter

LOSSES = st.lists(st.floats(0, 2, width=32), min_size=60, max_size=60)
SCHEDULES = (
    st.builds(Constant, st.integers(1, 4))
    | st.builds(Stepped, st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    | st.builds(Adaptive, st.floats(0.1, 2), st.integers(1, 5))
)


def trace(turns, num_batches, loss_of=lambda batch: 1.0, progress_of=lambda batch: 0.0, start=0):
    """Drive the counter as the loop does and return who had each minibatch."""
    text = ""
    for batch in range(start, num_batches):
        if turns.generator_is_next(progress_of(batch)):
            turns.count_minibatch(torch.tensor(loss_of(batch)))
            text += "G"
        else:
            turns.count_minibatch(None)
            text += "C"
    return text


@pytest.mark.parametrize(
    ("schedule", "batches_per_turn", "expected"),
    [
        (Constant(1), 1, "GCGCGCGC"),
        (Constant(2), 1, "GGCGGCGGC"),
        (Constant(2), 3, "GGGGGGCCCGGGGGGCCCG"),
        (Constant(4), 1, "GGGGCGGGGC"),
        (Stepped((2,)), 2, "GGGGCCGGGGCC"),
        (Adaptive(0.6, 3), 1, "GGGCGGGC"),
    ],
)
def test_traces(schedule, batches_per_turn, expected):
    assert trace(TurnCounter(schedule, batches_per_turn), len(expected)) == expected


@pytest.mark.parametrize("schedule", [Constant(2), Stepped((1, 2))])
def test_only_adaptive_waits_for_the_device(schedule):
    # A tensor without data stands for one that is still being computed: to read it is an error.
    def drive(schedule):
        turns = TurnCounter(schedule, 1)
        for _ in range(6):
            turns.generator_is_next(0.0)
            turns.count_minibatch(torch.empty((), device="meta"))

    drive(schedule)
    with pytest.raises(RuntimeError, match="meta"):
        drive(Adaptive(0.6, 3))


def test_stepped_follows_the_progress():
    turns = TurnCounter(Stepped((1, 2, 3)), 1)
    assert trace(turns, 18, progress_of=lambda batch: batch / 18) == "GCGCGCGGCGGCGGGCGG"


def test_minibatches_without_an_image_to_perturb_leave_the_last_loss():
    # The generator has lost on the one image that it met; a turn without any does not pass for a success.
    losses = [None, 0.9, *[None] * 20]
    turns = TurnCounter(Adaptive(0.6, 2), 2)
    whose = ""
    for batch in range(12):
        is_generators = turns.generator_is_next(0.0)
        turns.count_minibatch(torch.tensor(losses[batch]) if is_generators and losses[batch] is not None else None)
        whose += "G" if is_generators else "C"
    assert whose == "GGGGCCGGGGCC"


def test_adaptive_watches_the_mean_loss_of_the_last_turn():
    # Turns of two batches with means 0.9, 0.7 and 0.5: the third is under the target.
    losses = [1.0, 0.8, 0.3, 1.1, 0.9, 0.1, *[0.0] * 20]
    turns = TurnCounter(Adaptive(0.6, 100), 2)
    assert trace(turns, 12, loss_of=lambda batch: losses[batch]) == "GGGGGGCCGGCC"


def test_cycles_and_turns_are_counted_when_they_end():
    turns = TurnCounter(Constant(2), 3)
    trace(turns, 8)
    assert (turns.cycles, turns.generator_turns) == (0, 2)
    trace(turns, 9, start=8)
    assert (turns.cycles, turns.generator_turns) == (1, 2)
    trace(turns, 9 + 5, start=9)
    assert (turns.cycles, turns.generator_turns) == (1, 3)


def test_asking_twice_changes_nothing():
    turns = TurnCounter(Constant(1), 1)
    assert [turns.generator_is_next(0.0) for _ in range(3)] == [True] * 3
    turns.count_minibatch(torch.tensor(1.0))
    assert [turns.generator_is_next(0.0) for _ in range(3)] == [False] * 3


@given(SCHEDULES, st.integers(1, 4), LOSSES, st.integers(0, 60))
@settings(deadline=None)
def test_a_restored_counter_goes_on_as_if_nothing_had_been(schedule, batches_per_turn, losses, save_at):
    def drive(turns, num_batches, start=0):
        return trace(turns, num_batches, losses.__getitem__, lambda batch: batch / 60, start)

    whole = TurnCounter(schedule, batches_per_turn)
    expected = drive(whole, 60)

    before = TurnCounter(schedule, batches_per_turn)
    first = drive(before, save_at)
    state = copy.deepcopy(before.state())
    drive(before, 60, save_at)
    after = TurnCounter(schedule, batches_per_turn)
    after.restore(state)
    assert first + drive(after, 60, save_at) == expected
    assert after.state() == before.state() == whole.state()


def test_before_the_first_turn_the_loss_is_infinite():
    seen = []

    class Curious:
        def generator_continues(self, turns_taken, generator_loss, progress):
            seen.append((turns_taken, generator_loss(), progress))
            return turns_taken < 1

    trace(TurnCounter(Curious(), 1), 3, loss_of=lambda batch: 0.25, progress_of=lambda batch: batch / 4)
    assert seen == [(0, math.inf, 0.0), (1, 0.25, 0.25), (0, 0.25, 0.5)]
