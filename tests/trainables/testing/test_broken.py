"""Each test for others' plug-ins fails for a plug-in that is broken in what the test is about."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLUGIN = """\
import itertools
import types
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from trainables.attacks.losses import cross_entropy
from trainables.config import TrainingConfig
from trainables.config.recipes import CONFIGURATIONS
from trainables.testing import AttackTests, DatasetTests, NetworkTests, RecipeTests
from trainables.training.recipes import StandardLoop
from trainables.training.registry import LOOPS

calls = itertools.count()


class Forgets(StandardLoop):
    num_minibatches = 0

    def train_minibatch(self):
        self.num_minibatches += 1
        images, labels = self.minibatches.next_minibatch()
        self.run_update("clean", self.update, images * (1 - 0.01 * self.num_minibatches), labels)

    def update(self, images, labels):
        return self.descend(cross_entropy(self.classifier(images), labels).mean())


class IsFree(StandardLoop):
    def train_minibatch(self):
        super().train_minibatch()
        super().train_minibatch()
        self.meter.restore({**self.meter.state(), "flops": self.meter.state()["flops"] * 2})


class HidesLosses(StandardLoop):
    def _check_finite(self, losses, weights_are_finite):
        pass


class IsRandom(Forgets):
    def train_minibatch(self):
        images, labels = self.minibatches.next_minibatch()
        self.run_update("clean", self.update, images * torch.rand(()), labels)


for loop in (Forgets, IsFree, HidesLosses, IsRandom):
    name = loop.__name__.lower()
    LOOPS[name] = loop
    CONFIGURATIONS[name] = type(name, (TrainingConfig,), {"__annotations__": {"trainable": Literal[name]},
                                                          "trainable": name, "__module__": __name__})
    case = type(f"Test{loop.__name__}", (RecipeTests,), {"recipe": name})
    globals()[case.__name__] = case
    del case


def attack_of(change):
    def run(logits_fn, images, labels, epsilon, *, rng):
        return change(logits_fn, images, epsilon)

    return run


ATTACKS = {
    "LeavesTheBall": lambda net, images, epsilon: (images + 2 * epsilon).clamp(0, 1),
    "LeavesTheBox": lambda net, images, epsilon: images + epsilon,
    "ChangesImages": lambda net, images, epsilon: images.add_(epsilon / 2).clamp_(0, 1),
    "ChangesTheMode": lambda net, images, epsilon: (net.train(not net.training), images)[1].clone(),
    "LeavesGradients": lambda net, images, epsilon: (
        torch.enable_grad()(lambda: net(images).sum().backward())(), images)[1].clone(),
    "IsRandomAttack": lambda net, images, epsilon: (images + epsilon * torch.rand(())).clamp(0, 1),
    "NeedsGradients": lambda net, images, epsilon: (
        images - epsilon * torch.autograd.grad(net(x := images.clone().requires_grad_()).sum(), x)[0].sign()
    ).clamp(0, 1),
}
for name, change in ATTACKS.items():
    globals()[f"Test{name}"] = type(f"Test{name}", (AttackTests,), {"attack": staticmethod(attack_of(change))})


class Mixed(nn.Module):
    def __init__(self, shape, num_classes):
        super().__init__()
        self.layer = nn.Linear(shape[0] * shape[1] * shape[2], num_classes)

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        return logits - logits.mean(0)


class WrongShape(Mixed):
    def forward(self, images):
        return self.layer(images.flatten(1))[:, :3]


def constant(shape, num_classes):
    net = nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], num_classes))
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.01)
    return net


class TestMixed(NetworkTests):
    network = Mixed


class TestWrongShape(NetworkTests):
    network = WrongShape


class TestConstant(NetworkTests):
    network = staticmethod(constant)


def images_of(high, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    return {"images": high * rng.random((60, 8, 8)), "labels": np.arange(60) % classes}


class TestOutOfRange(DatasetTests):
    dataset = staticmethod(lambda: images_of(2.0))


class TestOtherImages(DatasetTests):
    dataset = staticmethod(lambda: images_of(1.0, next(calls)))
"""
FAILING = {
    "Forgets": "goes_on_bit_for_bit",
    "IsFree": "spends_its_compute",
    "HidesLosses": "notices_that_it_diverges",
    "IsRandom": "follows_from_the_seed",
    "LeavesTheBall": "stays_in_the_ball",
    "LeavesTheBox": "stays_in_the_ball",
    "ChangesImages": "stays_in_the_ball",
    "ChangesTheMode": "leaves_the_network",
    "LeavesGradients": "leaves_the_network",
    "IsRandomAttack": "follows_from_the_seed",
    "NeedsGradients": "works_where_gradients",
    "Mixed": "does_not_care_about_the_others",
    "WrongShape": "gives_logits",
    "Constant": "weights_follow_from_the_seed",
    "OutOfRange": "in_range",
    "OtherImages": "same_every_time",
}


@pytest.fixture(scope="module")
def failed(tmp_path_factory) -> list[tuple[str, str]]:
    """Return the classes and tests of the broken plug-ins that have failed."""
    path = tmp_path_factory.mktemp("broken") / "test_broken_plugins.py"
    path.write_text(PLUGIN)
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--tb=no", "-p", "no:cacheprovider", "-c", "/dev/null"]
    command += ["-k", " or ".join(f"(Test{broken} and {test})" for broken, test in FAILING.items())]
    done = subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.findall(r"^FAILED .*::Test(\w+)::test_(\w+)", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    assert "error" not in done.stdout.splitlines()[-1], done.stdout
    return found


@pytest.mark.parametrize(("broken", "test"), FAILING.items(), ids=FAILING)
def test_what_is_broken_fails(failed, broken, test):
    assert any(plugin == broken and test in name for plugin, name in failed), failed
