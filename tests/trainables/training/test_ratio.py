"""Ratio schedules: a table of questions and answers, and what must hold for all of them."""

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import RatioConfig
from trainables.config.schedules import Schedule
from trainables.training.ratio import Adaptive, Constant, Stepped, build_ratio

TURNS = st.integers(1, 20)
LOSS = st.floats(0, 10) | st.just(math.inf)
PROGRESS = st.floats(0, 1)


@pytest.mark.parametrize(
    ("schedule", "turns_taken", "generator_loss", "progress", "continues"),
    [
        (Constant(2), 0, math.inf, 0.0, True),
        (Constant(2), 1, 0.0, 1.0, True),
        (Constant(2), 2, 1.0, 0.5, False),
        (Constant(4), 3, 1.0, 0.5, True),
        (Constant(4), 4, 1.0, 0.5, False),
        (Stepped((6, 8, 12)), 5, 1.0, 0.0, True),
        (Stepped((6, 8, 12)), 6, 1.0, 0.33, False),
        (Stepped((6, 8, 12)), 6, 1.0, 0.34, True),
        (Stepped((6, 8, 12)), 8, 1.0, 0.66, False),
        (Stepped((6, 8, 12)), 8, 1.0, 0.67, True),
        (Stepped((6, 8, 12)), 12, 1.0, 1.0, False),
        (Stepped((6, 8, 12)), 11, 1.0, 1.0, True),
        (Adaptive(0.6, 700), 0, math.inf, 0.0, True),
        (Adaptive(0.6, 700), 0, 0.1, 0.5, True),
        (Adaptive(0.6, 700), 1, 0.59, 0.5, False),
        (Adaptive(0.6, 700), 1, 0.6, 0.5, True),
        (Adaptive(0.6, 700), 699, 0.9, 0.5, True),
        (Adaptive(0.6, 700), 700, 0.9, 0.5, False),
    ],
)
def test_answers(schedule, turns_taken, generator_loss, progress, continues):
    assert schedule.generator_continues(turns_taken, lambda: generator_loss, progress) is continues


def turns_in_cycle(schedule, progress, loss_after=lambda turns: math.inf):
    turns = 0
    while schedule.generator_continues(turns, partial(loss_after, turns), progress):
        turns += 1
    return turns


@given(TURNS, LOSS, PROGRESS)
def test_constant_is_constant(turns, loss, progress):
    assert turns_in_cycle(Constant(turns), progress, lambda taken: loss) == turns


@given(st.lists(TURNS, min_size=1, max_size=6), LOSS)
def test_stepped_takes_every_stage_in_order_for_an_equal_share(steps, loss):
    samples = 30
    progress = [(index + 0.5) / (samples * len(steps)) for index in range(samples * len(steps))]
    seen = [turns_in_cycle(Stepped(tuple(steps)), value, lambda taken: loss) for value in progress]
    assert seen == [turns for turns in steps for _ in range(samples)]
    assert turns_in_cycle(Stepped(tuple(steps)), 1.0) == steps[-1]


@given(st.floats(0.01, 5), TURNS, st.lists(LOSS, min_size=20, max_size=20), PROGRESS)
def test_adaptive_stops_at_the_first_loss_under_the_target_or_at_the_cap(target, cap, losses, progress):
    taken = turns_in_cycle(Adaptive(target, cap), progress, lambda turns: losses[turns - 1] if turns else math.inf)
    under = [turns for turns, loss in enumerate(losses, start=1) if loss < target]
    assert taken == min([*under, cap])


@pytest.mark.parametrize(
    ("kind", "values", "turns"),
    [
        ("constant", [3], {0.0: 3, 1.0: 3}),
        ("linear", [1, 4], {0.0: 1, 0.16: 1, 0.17: 2, 0.49: 2, 0.5: 3, 0.83: 3, 0.84: 4, 1.0: 4}),
        ("linear", [4, 1], {0.0: 4, 0.16: 4, 0.17: 3, 0.5: 3, 0.51: 2, 1.0: 1}),
        ("stepped", [6, 8, 12], {0.0: 6, 0.33: 6, 0.34: 8, 0.66: 8, 0.67: 12, 1.0: 12}),
    ],
)
def test_a_schedule_of_turns_gives_whole_turns(kind, values, turns):
    config = RatioConfig(generator_turns={"kind": kind, "values": values})
    assert {progress: turns_in_cycle(build_ratio(config), progress) for progress in turns} == turns


@given(st.lists(TURNS, min_size=1, max_size=6), PROGRESS)
def test_a_stepped_schedule_of_turns_is_a_stepped_ratio(steps, progress):
    # Away from the steps themselves, where the two round a third of the run differently.
    if abs(progress * len(steps) - round(progress * len(steps))) > 1e-9:
        kind = "stepped" if len(steps) > 1 else "constant"
        assert turns_in_cycle(Constant(Schedule[int](kind=kind, values=steps)), progress) == turns_in_cycle(
            Stepped(tuple(steps)), progress
        )


def test_built_from_a_configuration():
    assert build_ratio(RatioConfig(kind="constant", generator_turns=4)) == Constant(4)
    assert build_ratio(RatioConfig(kind="stepped", steps=(1, 2))) == Stepped((1, 2))
    adaptive = RatioConfig(kind="adaptive", target_generator_loss=0.5, max_generator_turns=9)
    assert build_ratio(adaptive) == Adaptive(0.5, 9)
