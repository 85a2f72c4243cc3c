"""Optimisers and the bound on a gradient's length."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.support.loops import copy_of, is_unchanged, leaves_of
from trainables.training.optimizers import build_optimizer, descend


def weights_after(name, num_steps, gradient_clip=None, **options):
    """Return the weight after steps down 3 w, from w = 1."""
    weight = nn.Parameter(torch.ones(1))
    optimizer = build_optimizer([weight], name, **{"learning_rate": 0.1, **options})
    for _ in range(num_steps):
        descend(optimizer, 3.0 * weight.sum(), gradient_clip)
    return weight.item()


def test_sgd_has_momentum():
    assert weights_after("sgd", 2) == pytest.approx(1 - 0.3 - 0.3 * 1.9)


def test_adam_steps_by_the_learning_rate():
    assert weights_after("adam", 2) == pytest.approx(1 - 0.2, abs=1e-6)


@pytest.mark.parametrize(("gradient_clip", "expected"), [(None, 0.7), (5.0, 0.7), (0.5, 0.95)])
def test_a_longer_gradient_is_shortened(gradient_clip, expected):
    assert weights_after("sgd", 1, gradient_clip) == pytest.approx(expected, abs=1e-6)


def test_weight_decay_pulls_towards_zero():
    assert weights_after("sgd", 1, weight_decay=2.0) == pytest.approx(1 - 0.1 * (3 + 2))


@pytest.mark.parametrize("trainable", ["standard", "fgsm_retraining", "pgd", "trades", "gan"])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_every_recipe_obeys_the_classifiers_settings(loop_of, trainable, name):
    def trained(**settings):
        loop = loop_of(
            trainable, classifier={"architecture": "mlp", "learning_rate": 0.01, "optimizer": name} | settings
        )
        for _ in range(8):
            loop.train_minibatch()
        return loop.classifier

    plain = copy_of(trained(schedule="constant"))
    assert is_unchanged(trained(schedule="constant"), plain)
    assert is_unchanged(trained(schedule="constant", gradient_clip=1e9), plain)
    assert not is_unchanged(trained(schedule="constant", gradient_clip=1e-3), plain)
    assert not is_unchanged(trained(schedule="constant", weight_decay=0.1), plain)


@pytest.mark.parametrize(
    ("name", "theirs", "options"), [("adam", torch.optim.Adam, {}), ("sgd", torch.optim.SGD, {"momentum": 0.9})]
)
def test_each_is_torchs_own_to_the_bit_and_so_is_its_state(name, theirs, options):
    start = torch.linspace(-1, 1, 7)
    weights = [nn.Parameter(start.clone()) for _ in range(2)]
    expected = theirs(weights[1:], 0.1, weight_decay=0.01, fused=True, **options)
    optimizers = [build_optimizer(weights[:1], name, 0.1, 0.01), expected]
    for step in range(3):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            descend(optimizer, (weight**3).sum() + step)
    assert torch.equal(*weights)
    again = build_optimizer(weights[:1], name, 0.5)
    again.load_state_dict(expected.state_dict())
    for optimizer in (optimizers[0], again):
        assert _numbers(optimizer) == _numbers(expected)


def _numbers(optimizer):
    leaves = leaves_of(optimizer.state_dict())
    return {path: leaf.tolist() if isinstance(leaf, torch.Tensor) else leaf for path, leaf in leaves.items()}


def test_training_does_not_import_torchs_compiler():
    check = """
import sys
from trainables.config import parse
from trainables.data.tensors import load_dataset
from trainables.training import registry

config = parse({
    "trainable": "gan",
    "dataset": {"name": "digits", "validation": 200},
    "evaluation": {"watch_images": 20, "rank_images": 30},
    "classifier": {"architecture": "mlp"},
    "pretrain": 0.25,
    "compute": 0.5,
})
loop = registry.build(config, load_dataset(config.dataset))
loop.step()
loop.restore(loop.state())
sys.exit("torch._dynamo" in sys.modules)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", check], check=True, env=environment)
