"""Compute: a standard epoch is 1, and the rest is what the arithmetic of the layers says."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from trainables.common.tasks import MNIST
from trainables.config import ClassifierConfig
from trainables.networks.classifiers import build_classifier
from trainables.training import registry
from trainables.training.compute import ComputeMeter, standard_flops_per_image

# Multiply-adds of each layer per image, the first layer's first.
LAYERS = {
    "mlp": (784 * 256, 256 * 256, 256 * 10),
    "small_cnn": (14 * 14 * 16 * 16, 7 * 7 * 32 * 16 * 16, 32 * 7 * 7 * 100, 100 * 10),
    "madry_cnn": (28 * 28 * 32 * 25, 14 * 14 * 64 * 32 * 25, 64 * 7 * 7 * 1024, 1024 * 10),
}


def forward_flops(architecture):
    return 2 * sum(LAYERS[architecture])


def standard_flops(architecture):
    """Forward, the gradient of every weight, and that of every input but the image."""
    return 3 * forward_flops(architecture) - 2 * LAYERS[architecture][0]


@pytest.fixture(scope="module")
def hundred_digits(digits):
    return replace(digits, train=digits.train.head(100))


@pytest.fixture
def loop_of(config_of, hundred_digits):
    def build(trainable, architecture="mlp", **changes):
        classifier = {"architecture": architecture}
        return registry.build(config_of(trainable, classifier=classifier, batch_size=40, **changes), hundred_digits)

    return build


def test_one_linear_layer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    # Forward and the gradient of the weights, each 784 * 10 multiply-adds.
    assert standard_flops_per_image(model, MNIST.image_shape) == 2 * 2 * 784 * 10


@pytest.mark.parametrize("architecture", LAYERS)
class TestEveryArchitecture:
    def test_a_standard_update_costs_what_its_layers_say(self, architecture):
        model = build_classifier(ClassifierConfig(architecture=architecture), MNIST)
        assert standard_flops_per_image(model, MNIST.image_shape) == standard_flops(architecture)
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_a_standard_epoch_is_exactly_one(self, architecture, loop_of):
        loop = loop_of("standard", architecture)
        for epoch in range(1, 3):
            for _ in range(loop.minibatches.per_epoch):
                loop.train_minibatch()
            assert loop.meter.compute == epoch

    @pytest.mark.parametrize("clean_weight", [0.0, 0.5])
    def test_fgsm_retraining_costs_two_passes_and_the_gradient_of_the_image(self, architecture, loop_of, clean_weight):
        loop = loop_of("fgsm_retraining", architecture, clean_weight=clean_weight)
        for _ in range(loop.minibatches.per_epoch):
            loop.train_minibatch()
        # One pass over clean images serves attack and update; without them the attack needs no weight's gradient.
        of_image = 2 * LAYERS[architecture][0]
        first_pass = standard_flops(architecture) + of_image if clean_weight else 2 * forward_flops(architecture)
        expected = first_pass / standard_flops(architecture) + 1
        assert loop.meter.compute == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("trainable", registry.LOOPS)
def test_counting_does_not_change_the_update(trainable, loop_of):
    counted, uncounted, earlier = (loop_of(trainable) for _ in range(3))
    for _ in range(4):
        earlier.train_minibatch()
    uncounted.meter.restore({**earlier.meter.state(), "flops": 0.0})
    for _ in range(4):
        counted.train_minibatch()
        uncounted.train_minibatch()
    assert counted.meter.state() == uncounted.meter.state() == earlier.meter.state()
    for one, other in zip(counted.classifier.parameters(), uncounted.classifier.parameters(), strict=True):
        assert torch.equal(one, other)


class TestComputeMeter:
    def test_counts_the_first_of_a_kind_and_multiplies_the_rest(self):
        def update(num_images):
            done.append(num_images)
            return torch.ones(num_images, 3) @ torch.ones(3, 5)

        done = []
        meter = ComputeMeter(flops_per_epoch=300.0)
        assert meter.run("product", 4, lambda: update(4)).shape == (4, 5)
        assert meter.compute == 4 * 30 / 300
        meter.run("product", 6, lambda: update(1))  # taken at its word: six images
        assert meter.compute == 10 * 30 / 300
        meter.run("another", 2, lambda: None)
        assert meter.compute == 10 * 30 / 300
        assert done == [4, 1]

    def test_goes_on_from_a_state(self):
        meter = ComputeMeter(flops_per_epoch=300.0)
        meter.run("product", 4, lambda: torch.ones(4, 3) @ torch.ones(3, 5))
        restored = ComputeMeter(flops_per_epoch=300.0)
        restored.restore(meter.state())
        for each in (meter, restored):
            each.run("product", 1, lambda: None)
        assert restored.compute == meter.compute == 5 * 30 / 300
        assert restored.state() == meter.state()
