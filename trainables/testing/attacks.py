"""Tests that every attack passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from trainables.evaluation.attack_table import AttackFn, attack_function, named_attack
from trainables.networks.classifiers import build_seeded
from trainables.testing.threads import SingleThreadedTests

NUM_CLASSES = 10


def small_problem(seed: int, *, is_training: bool = False) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return a small network, 6 images ``(6, 1, 28, 28)`` that touch 0 and 1, and their labels.

    Args:
        seed: of all three.
        is_training: whether the network is in training mode; it has no batch normalisation then, whose statistics count
            in that mode, and which needs several images.
    """
    rng = torch.Generator().manual_seed(seed)
    further = nn.Dropout(0.0) if is_training else nn.BatchNorm1d(12)
    network = build_seeded(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 12), further, nn.Tanh(), nn.Linear(12, NUM_CLASSES)), seed
    )
    images = (1.4 * torch.rand(6, 1, 28, 28, generator=rng) - 0.2).clamp(0, 1)
    return network.train(is_training), images, torch.randint(NUM_CLASSES, (6,), generator=rng)


class AttackTests(SingleThreadedTests):
    """Tests of an attack; a class made from this names it.

    Attributes:
        attack: the name of an attack of an installed package, or a function like `AttackFn`, with or without ``rng``.
        options: settings of an attack of a package, if it has any, or keyword arguments of the function.
    """

    attack: ClassVar[str | Callable[..., torch.Tensor]]
    options: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def run_attack(self) -> AttackFn:
        """Return the attack as an evaluation runs it."""
        attack = type(self).attack
        if isinstance(attack, str):
            return named_attack(attack, {}, self.options)
        return partial(attack_function(attack, attack.__name__), **self.options)

    @pytest.mark.parametrize("epsilon", [1e-4, 8 / 255, 0.3, 1.0])
    def test_stays_in_the_ball_and_the_box(self, run_attack: AttackFn, epsilon: float) -> None:
        """Images are within epsilon and [0, 1], and those that were given, and their labels, are as they were."""
        for seed in range(4):
            network, images, labels = small_problem(seed)
            kept, kept_labels = images.clone(), labels.clone()
            adversarial = run_attack(network, images, labels, epsilon, rng=torch.Generator().manual_seed(seed))
            assert (adversarial.shape, adversarial.dtype) == (images.shape, torch.float32)
            assert float((adversarial - kept).abs().max()) <= epsilon + 1e-6
            assert float(adversarial.min()) >= 0
            assert float(adversarial.max()) <= 1
            assert torch.equal(images, kept)
            assert torch.equal(labels, kept_labels)

    @pytest.mark.parametrize("is_training", [False, True])
    def test_leaves_the_network_as_it_was(self, run_attack: AttackFn, is_training: bool) -> None:
        """Its mode, its weights, their gradients and whether they require any are as before."""
        network, images, labels = small_problem(1, is_training=is_training)
        frozen, with_gradient, *_ = network.parameters()
        frozen.requires_grad_(False)
        with_gradient.grad = torch.ones_like(with_gradient)
        requires = [parameter.requires_grad for parameter in network.parameters()]
        weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        adversarial = run_attack(network, images, labels, 0.1, rng=torch.Generator().manual_seed(0))
        assert not adversarial.requires_grad
        assert not images.requires_grad
        assert [part.training for part in network.modules()] == [is_training] * len(list(network.modules()))
        assert [parameter.requires_grad for parameter in network.parameters()] == requires
        assert torch.equal(with_gradient.grad, torch.ones_like(with_gradient))
        assert all(parameter.grad is None for parameter in network.parameters() if parameter is not with_gradient)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())

    def test_follows_from_the_seed_alone(self, run_attack: AttackFn) -> None:
        """One seed gives equal images twice, and the global random numbers play no part."""
        network, images, labels = small_problem(2)
        state = torch.random.get_rng_state()
        first = run_attack(network, images, labels, 0.1, rng=torch.Generator().manual_seed(5))
        assert torch.equal(torch.random.get_rng_state(), state)
        with torch.random.fork_rng(devices=[]):
            torch.rand(3)
            again = run_attack(network, images, labels, 0.1, rng=torch.Generator().manual_seed(5))
        assert torch.equal(again, first)

    def test_works_where_gradients_are_off(self, run_attack: AttackFn) -> None:
        """Its images are the same inside `torch.no_grad`, in which evaluations may call it."""
        network, images, labels = small_problem(3)
        expected = run_attack(network, images, labels, 0.1, rng=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found = run_attack(network, images, labels, 0.1, rng=torch.Generator().manual_seed(0))
        assert torch.equal(found, expected)
