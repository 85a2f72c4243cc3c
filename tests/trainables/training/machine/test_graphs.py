"""Recorded updates, as a GPU has them in CUDA graphs, give the numbers of updates that run as they are called."""

import logging
from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch

from tests.support.loops import finish, is_same_state, without_seconds
from tests.trainables.training.test_restoring import RUNS
from trainables.training.loop import TrainingLoop
from trainables.training.machine import graphs
from trainables.training.machine.evaluations import Evaluations


class Repeats:
    """Records as a CUDA graph does: what an update was given when it was recorded is fixed, results have one place."""

    def __init__(self):
        self.num_recorded = self.num_repeated = self.depth = 0

    @contextmanager
    def active(self):
        yield

    joined = active

    def finish(self):
        pass

    def is_active(self):
        return True

    def record(self, update, rngs):
        self.num_recorded += 1
        place = []

        def repeat():
            self.num_repeated += 1
            self.depth += 1
            result = update()
            self.depth -= 1
            if not place:
                place.append(result)
            elif isinstance(result, torch.Tensor):
                place[0].copy_(result)
            elif isinstance(result, tuple):
                for old, new in zip(place[0], result, strict=True):
                    old.copy_(new)
            else:
                place[0] = result
            return place[0]

        return repeat


def recorded(loop, recorder, evaluations=None):
    evaluations = evaluations or Evaluations(loop.device, recorder)
    loop.updates = graphs.RecordedUpdates(loop.device, recorder, loop.rng, evaluations)
    loop.updates.adopt(loop.optimizer)
    if hasattr(loop, "adversary"):
        loop.updates.adopt(loop.adversary.optimizer)
    return loop


@pytest.fixture
def unread_progress(monkeypatch):
    """No recorded update reads the progress, which a graph would freeze."""
    recorder, progress = Repeats(), TrainingLoop.progress.fget

    def checked(loop):
        assert not recorder.depth
        return progress(loop)

    monkeypatch.setattr(TrainingLoop, "progress", property(checked))
    return recorder


@pytest.mark.parametrize(("trainable", "changes"), RUNS.values(), ids=RUNS)
def test_recorded_updates_are_those_of_the_plain_loop_bit_for_bit(trainable, changes, loop_of, unread_progress):
    changes = {**changes, "compute": 20.0}
    plain, ours = loop_of(trainable, **changes), recorded(loop_of(trainable, **changes), unread_progress)
    for loop in (plain, ours):
        for _ in range(50):
            loop.set_learning_rate()
            loop.train_minibatch()
    assert unread_progress.num_repeated > 20 or "source_to_target" in str(changes)
    assert is_same_state(ours, plain)
    assert ours.losses() == plain.losses()
    assert [ours.evaluate("watch") for _ in range(3)] == [plain.evaluate("watch")] * 3


def test_a_run_restored_into_recorded_updates_goes_on_bit_for_bit(loop_of):
    whole = loop_of("gan", report_every=1.0)
    whole.step()
    ours = recorded(loop_of("gan", report_every=1.0), Repeats())
    ours.step()
    before = ours.updates._recorder.num_recorded
    ours.restore(deepcopy(whole.state()))
    whole.step()
    ours.step()
    assert is_same_state(ours, whole)
    assert ours.updates._recorder.num_recorded > before


def test_what_cannot_be_recorded_runs_as_it_is_called_and_the_log_says_so_once(loop_of, caplog):
    class Broken(Repeats):
        def record(self, update, rngs):
            torch.rand(3, generator=rngs[0])
            raise RuntimeError("operation not permitted when stream is capturing")

    plain, ours = loop_of("pgd", report_every=2.0), recorded(loop_of("pgd", report_every=2.0), Broken())
    with caplog.at_level(logging.WARNING):
        ours.step()
    plain.step()
    assert is_same_state(ours, plain)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the update 'attacked' runs without a CUDA graph, several times slower"
    ]


def test_runs_share_recorded_evaluations_and_each_has_its_own_numbers(loop_of):
    recorder = Repeats()
    evaluations, loops = Evaluations(torch.device("cpu"), recorder), []
    for seed in (1, 2, 3):
        ours, alone = (loop_of("gan", seed=seed, pretrain=0.0, compute=1.0) for _ in range(2))
        loops.append((recorded(ours, recorder, evaluations), alone))
    counts = []
    for ours, alone in loops:
        assert without_seconds(finish(ours)) == without_seconds(finish(alone))
        counts.append(len(evaluations._recorded))
    assert counts == [3, 5, 5]  # watch, and of the generator counts and saturation; then also rank and masking
    deeper = recorded(loop_of("gan", generator={"width": 5}, compute=1.0), recorder, evaluations)
    finish(deeper)
    assert len(evaluations._recorded) == 7  # generators of another structure
