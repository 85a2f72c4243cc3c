"""Recipes and generators' bodies of others: what fails on the first minibatch is refused by name."""

from typing import Literal

import pytest

from tests.support.plugins import example_package, installed, write_package
from trainables.common.tasks import Task
from trainables.config import CONFIGURATIONS, TrainingConfig
from trainables.errors import UserError
from trainables.judging.rehearsal import check_body, check_recipe
from trainables.training.recipes import StandardLoop
from trainables.training.registry import LOOPS

TASK = Task((3, 10, 12), ("a", "b", "c"))


class NewConfig(TrainingConfig):
    trainable: Literal["new"] = "new"


class NeedyConfig(NewConfig):
    needed: float


class Raises(StandardLoop):
    def train_minibatch(self):
        raise SystemExit("no")


class IsFree(StandardLoop):
    def train_minibatch(self):
        self.minibatches.next_minibatch()


class ForgetsItsState(StandardLoop):
    def restore(self, state):
        raise KeyError("mine")


@pytest.mark.parametrize("name", [*CONFIGURATIONS])
def test_ours_work(name):
    check_recipe(name, TASK)


def test_that_of_the_example_works(tmp_path):
    with installed(example_package(tmp_path)):
        check_recipe("noise_training", TASK)


@pytest.mark.parametrize(
    ("config", "loop", "message"),
    [
        (NeedyConfig, StandardLoop, "needs a default for each of its settings: needed: Field required"),
        (NewConfig, Raises, "the recipe new fails: SystemExit: no"),
        (NewConfig, ForgetsItsState, "the recipe new fails: KeyError: 'mine'"),
        (NewConfig, IsFree, "the recipe new counts no compute"),
    ],
)
def test_others_are_refused(config, loop, message, monkeypatch):
    monkeypatch.setitem(CONFIGURATIONS._set, "new", config)
    monkeypatch.setitem(LOOPS._set, "new", loop)
    with pytest.raises(UserError, match=message):
        check_recipe("new", TASK)


BODIES = """\
import torch
from torch import nn

def fits(channels, width, out_channels):
    return nn.Sequential(nn.Conv2d(channels, out_channels, 3, padding=1))

def shrinks(channels, width, out_channels):
    return nn.Sequential(nn.Conv2d(channels, out_channels, 3))

def is_half(channels, width, out_channels):
    return fits(channels, width, out_channels).half()

def is_none(channels, width, out_channels):
    return None

def takes_two(channels, width):
    return None
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fits", None),
        ("shrinks", r"must return float32 in the shape \(8, 3, 10, 12\), not float32 in \(8, 3, 10, 10\)|shape"),
        ("is_half", "the generator is_half fails: RuntimeError"),
        ("is_none", "the generator is_none fails: .* returns a torch.nn.Sequential"),
        ("takes_two", "the generator takes_two fails: TypeError"),
    ],
)
def test_bodies(name, message, tmp_path):
    names = ("fits", "shrinks", "is_half", "is_none", "takes_two")
    points = "".join(f"{each} = their_bodies:{each}\n" for each in names)
    place = write_package(tmp_path, "bodies", f"[adversarial_tuner.generators]\n{points}")
    (place / "their_bodies.py").write_text(BODIES)
    with installed(place):
        if message is None:
            check_body(name, TASK)
            return
        with pytest.raises(UserError, match=message):
            check_body(name, TASK)
