"""While a run of a pack waits for numbers from the device the others go on: nothing is read before it is there."""

from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.support.loops import is_same_state, without_seconds
from trainables.attacks import apgd, combined, gradient
from trainables.training.machine import graphs
from trainables.training.machine.evaluations import Evaluations
from trainables.training.machine.reading import Reading
from trainables.worker.pack import Pack

READS = {"item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__"}
POLLS = 3


class OnHost(torch.Tensor):
    """What was read, and all that is computed of it."""


class NoReads(TorchFunctionMode):
    """Fails where the value of a tensor is read that was not fetched before."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        masked = name in ("__getitem__", "__setitem__") and getattr(args[1], "dtype", None) == torch.bool
        reads = name in READS or masked
        if reads and not isinstance(args[0], OnHost):
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


class Slow(Reading):
    """Is ready when it was asked a few times, as if the device were busy."""

    def __init__(self, tensors):
        super().__init__([tensor.clone() for tensor in tensors])
        self._polls = 0

    def is_ready(self):
        self._polls += 1
        return self._polls > POLLS

    def wait(self):
        assert self._polls > POLLS

    def values(self):
        return tuple(tensor.as_subclass(OnHost) for tensor in super().values())


class Once:
    """Records nothing: every update runs as it is called."""

    @contextmanager
    def active(self):
        yield

    joined = active

    def finish(self):
        pass

    def is_active(self):
        return True

    def record(self, update, rngs):
        return update


@pytest.fixture
def as_on_a_gpu(monkeypatch, loop_of):
    """Return a function that builds a run which does all that runs on a GPU do, and none of the shortcuts of a CPU."""
    for module in (gradient, apgd, combined):
        monkeypatch.setattr(module, "drops_images", lambda images: False)
    shared = Evaluations(torch.device("cpu"), Once())

    def build(trainable, **changes):
        loop = loop_of(trainable, **changes)
        loop.updates = graphs.RecordedUpdates(loop.device, Once(), loop.rng, shared)
        loop.updates.read = Slow
        loop.updates.adopt(loop.optimizer)
        if hasattr(loop, "adversary"):
            loop.updates.adopt(loop.adversary.optimizer)
        return loop

    return build


def test_a_read_that_is_not_fetched_is_found():
    value = torch.ones(2)
    for read in (
        float,
        bool,
        torch.Tensor.tolist,
        torch.Tensor.nonzero,
        torch.Tensor.cpu,
        lambda tensor: tensor[tensor > 0],
    ):
        with NoReads(), pytest.raises(AssertionError, match="waits for the device"):
            read(value[:1])
    reading = Slow([value.sum()])
    while not reading.is_ready():
        pass
    with NoReads():
        assert reading.values()[0].item() == 2


RUNS = {
    "gan": ("gan", {"pretrain": 0.0}),
    "adaptive": ("gan", {"pretrain": 0.0, "ratio": {"kind": "adaptive", "target_generator_loss": 0.3}}),
    "clipped": ("gan", {"classifier": {"gradient_clip": 1.0}, "generator": {"width": 4, "noise": 3, "diversity": 0.1}}),
    "averaged": ("pgd", {"classifier": {"average_decay": 0.9}}),
    "trades": ("trades", {}),
    "standard": ("standard", {}),
}


def test_a_pack_reads_nothing_that_was_not_fetched_and_other_runs_go_on_meanwhile(as_on_a_gpu, loop_of):
    pack, ours = Pack(updates_per_turn=4), {}
    for name, (trainable, changes) in RUNS.items():
        ours[name] = as_on_a_gpu(trainable, **changes, compute=1.0)
        pack.enter(name, ours[name])
    reports = {name: [] for name in RUNS}
    with NoReads():
        while len(pack):
            for outcome in pack.turn():
                assert outcome.error is None, outcome.error
                reports[outcome.name].append(outcome.metrics)
    for name, (trainable, changes) in RUNS.items():
        alone = loop_of(trainable, **changes, compute=1.0)
        assert without_seconds(reports[name]) == without_seconds([alone.step() for _ in reports[name]])
        assert is_same_state(ours[name], alone)


def test_a_run_that_waits_takes_no_update_and_does_not_keep_others_from_theirs(as_on_a_gpu):
    pack, order = Pack(updates_per_turn=1000), []
    for name in ("first", "second"):
        loop = as_on_a_gpu("standard", compute=1.0, report_every=1.0)
        train = loop.train_minibatch
        loop.train_minibatch = lambda name=name, train=train: order.append(name) or train()
        pack.enter(name, loop)
    assert pack.turn() == []
    assert order == sorted(order)
    assert set(order) == {"first", "second"}  # the first has asked for its losses, and the second is trained
    waiting = len(order)
    while len(pack):
        pack.turn()
    assert len(order) == waiting
