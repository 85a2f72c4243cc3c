"""Runs of a pack are the runs that each would be alone."""

from copy import deepcopy

import pytest
import torch

from tests.support.loops import is_same_state, without_seconds
from trainables.training.loop import DivergedError
from trainables.worker.pack import Pack

RUNS = {"one": ("gan", {"seed": 1}), "two": ("pgd", {"seed": 2}), "three": ("gan", {"seed": 3, "pretrain": 0.0})}
SHORT = {"compute": 1.0}


def whole(pack, limit=1000):
    outcomes = {}
    for _ in range(limit):
        for outcome in pack.turn():
            outcomes.setdefault(outcome.name, []).append(outcome)
        if not len(pack):
            return outcomes
    raise AssertionError("the pack does not end")


def loops(loop_of):
    return {name: loop_of(trainable, **SHORT, **changes) for name, (trainable, changes) in RUNS.items()}


def test_three_runs_in_a_pack_are_three_solo_runs_bit_for_bit(loop_of):
    pack, ours, alone = Pack(updates_per_turn=3), loops(loop_of), loops(loop_of)
    for name, loop in ours.items():
        pack.enter(name, loop)
    outcomes = whole(pack)
    for name, loop in alone.items():
        reports = [loop.step() for _ in outcomes[name]]
        assert without_seconds([outcome.metrics for outcome in outcomes[name]]) == without_seconds(reports)
        assert is_same_state(ours[name], loop)


def test_runs_enter_and_leave_between_turns(loop_of):
    pack, ours, alone = Pack(updates_per_turn=2), loops(loop_of), loops(loop_of)
    pack.enter("one", ours["one"])
    pack.turn()
    pack.enter("two", ours["two"])
    pack.enter("three", ours["three"])
    pack.turn()
    pack.leave("three")
    restored = loops(loop_of)["three"]
    alone["three"].step()
    restored.restore(deepcopy(alone["three"].state()))
    pack.enter("again", restored)
    with pytest.raises(ValueError, match="names of runs must differ: one is in the pack"):
        pack.enter("one", alone["one"])
    outcomes = whole(pack)
    assert [len(outcomes[name]) for name in ("one", "two", "again")] == [2, 2, 1]
    while not all(loop.done for loop in alone.values()):
        [loop.step() for loop in alone.values() if not loop.done]
    assert is_same_state(ours["one"], alone["one"])
    assert is_same_state(ours["two"], alone["two"])
    assert is_same_state(restored, alone["three"])


def test_a_run_that_diverges_or_raises_ends_alone(loop_of):
    pack, ours, alone = Pack(updates_per_turn=4), loops(loop_of), loops(loop_of)
    with torch.no_grad():
        next(ours["one"].classifier.parameters()).fill_(torch.nan)

    def broken():
        raise RuntimeError("no such kernel")

    ours["two"].train_minibatch = broken
    for name, loop in ours.items():
        pack.enter(name, loop)
    outcomes = whole(pack)
    assert isinstance(outcomes["one"][0].error, DivergedError)
    assert str(outcomes["two"][0].error) == "no such kernel"
    while not alone["three"].done:
        alone["three"].step()
    assert is_same_state(ours["three"], alone["three"])
