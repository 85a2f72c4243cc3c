"""Optimisers and the bound on a gradient's length."""

import pytest
import torch
from torch import nn

from tests.support.loops import copy_of, is_unchanged
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
