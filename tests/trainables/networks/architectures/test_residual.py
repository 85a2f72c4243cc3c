"""Tests of the residual networks: their sizes, their normalisation, and what batch normalisation does to them."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.support.networks import small_builder
from trainables.common.tasks import CIFAR10, CIFAR100
from trainables.config import ClassifierConfig, parse
from trainables.networks.architectures.residual import (
    PixelNormalization,
    PreactivationBlock,
    downsample,
    preact_resnet18,
    wide_resnet_28_10,
)
from trainables.networks.bundle import read_bundle, write_classifier
from trainables.networks.classifiers import build_classifier
from trainables.networks.matching import num_parameters


@pytest.mark.parametrize(
    ("build", "task", "expected"),
    [
        (preact_resnet18, CIFAR10, 11_172_170),
        (preact_resnet18, CIFAR100, 11_218_340),
        (wide_resnet_28_10, CIFAR10, 36_479_194),
    ],
)
def test_the_usual_sizes_have_the_published_numbers_of_parameters(build, task, expected):
    with torch.device("meta"):
        network = build(task.image_shape, task.num_classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 4, 5), (1, 65, 33)])
@pytest.mark.parametrize("architecture", ["preact_resnet18", "wide_resnet_28_10"])
def test_images_of_any_shape(architecture, shape):
    network = small_builder(architecture)(shape, 7).eval()
    assert network(torch.rand(2, *shape)).shape == (2, 7)


def test_pixels_are_normalised_inside_and_nothing_of_it_is_saved():
    normalization = PixelNormalization(3)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
    torch.testing.assert_close(normalization(mean.expand(2, 3, 4, 4)), torch.zeros(2, 3, 4, 4))
    assert PixelNormalization(1).mean.item() == pytest.approx(0.4734, abs=1e-4)
    assert not normalization.state_dict()


def test_settings_build_what_they_say():
    config = ClassifierConfig(architecture="wide_resnet_28_10", width=4, depth=16)
    network = build_classifier(config, CIFAR10)
    expected = num_parameters(lambda *task: wide_resnet_28_10(*task, width=4, depth=16), CIFAR10)
    assert sum(value.numel() for value in network.state_dict().values()) == expected


def test_settings_without_sizes_are_as_they_were():
    assert not {"width", "depth"} & set(ClassifierConfig().model_dump())
    sized = ClassifierConfig(architecture="preact_resnet18", width=8)
    assert sized.model_dump()["width"] == 8
    assert ClassifierConfig.model_validate(sized.model_dump()) == sized


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 8}, "width must be left out: small_cnn has none, only preact_resnet18 and wide_resnet_28_10"),
        ({"architecture": "net.py:build", "width": 8}, "width must be left out"),
        ({"architecture": "preact_resnet18", "depth": 28}, "depth must be left out: .* only wide_resnet_28_10"),
        ({"architecture": "wide_resnet_28_10", "depth": 27}, r"depth \(27\) must be 6n \+ 4"),
        ({"architecture": "preact_resnet18", "width": 0}, "greater than or equal to 1"),
    ],
)
def test_sizes_that_a_network_cannot_have(settings, message):
    with pytest.raises(ValidationError, match=message):
        ClassifierConfig.model_validate(settings)


def test_a_bundle_has_the_size(tmp_path):
    settings = {
        "trainable": "standard",
        "dataset": {"name": "cifar10"},
        "classifier": {"architecture": "preact_resnet18", "width": 4},
    }
    config = parse(settings)
    network = build_classifier(config.classifier, CIFAR10, seed=3).eval()
    write_classifier(tmp_path, config.model_dump(mode="json"), network.state_dict())
    read, classifier = read_bundle(tmp_path)
    images = torch.rand(2, 3, 32, 32)
    assert read.classifier.width == 4
    assert torch.equal(classifier.eval()(images), network(images))


@pytest.mark.parametrize("channels", [2, 4, 7, 16])
def test_a_block_that_halves_has_the_gradients_of_a_strided_shortcut(channels):
    block = PreactivationBlock(channels, 2 * channels, 2)
    given = torch.rand(8, channels, 9, 12)

    def gradients(images, shortcut):
        active = torch.relu(images)
        weight = block.shortcut.weight
        return torch.autograd.grad(shortcut(active).square().sum(), [images, weight])

    ours = gradients(
        given.to(memory_format=torch.channels_last).requires_grad_(), lambda active: downsample(active, block.shortcut)
    )
    plain = gradients(
        given.clone().requires_grad_(), lambda active: nn.functional.conv2d(active, block.shortcut.weight, stride=2)
    )
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, theirs)
