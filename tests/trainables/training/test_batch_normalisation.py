"""Running statistics belong to the images that a network is trained on: no attack on the way changes them."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.support.networks import SMALL_SIZES, small_builder
from tests.trainables.training.test_shapes import GENERATOR, dataset_of
from trainables.attacks import gradient
from trainables.attacks.buffers import buffers_kept
from trainables.config import CONFIGURATIONS
from trainables.evaluation.accuracy import evaluate
from trainables.judging.final import AttackBudget, evaluate_final
from trainables.training import loop as training_loop
from trainables.training import registry

BATCH = 16


@pytest.fixture
def dataset(monkeypatch):
    """Give images, and let every run have a network with batch normalisation."""

    def build(settings, task, seed, code):
        torch.manual_seed(seed)
        channels, height, width = task.image_shape
        size = 4 * (height // 2) * (width // 2)
        convolution = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
        return nn.Sequential(convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(size, task.num_classes))

    monkeypatch.setattr(training_loop, "build_classifier", build)
    return dataset_of((1, 8, 8), 2)


def num_batches(network):
    return int(network[1].num_batches_tracked)


@pytest.mark.parametrize("recursions", [1, 3])
@pytest.mark.parametrize("trainable", CONFIGURATIONS)
def test_only_passes_that_train_the_classifier_count(trainable, recursions, dataset, config_of):
    changes = {"generator": {**GENERATOR, "recursions": recursions}} if trainable == "gan" else {}
    loop = registry.build(config_of(trainable, compute=2.0, report_every=2.0, batch_size=BATCH, **changes), dataset)
    assert num_batches(loop.classifier) == 0
    passes = []
    descended = loop.descend
    loop.descend = lambda loss: passes.append(loss) or descended(loss)
    metrics = loop.step()
    if trainable == "fgsm_retraining":  # its two passes, on clean and on attacked images, make one step
        assert num_batches(loop.classifier) == 2 * loop.minibatches.num_drawn > 0
    else:
        assert num_batches(loop.classifier) == len(passes) > 0
    assert loop.classifier.training
    assert 0 <= metrics["robust"] <= metrics["clean"] <= 1


def few_images():
    dataset = dataset_of((3, 8, 8), 3)
    splits = {
        name: getattr(dataset, name).head(number) for name, number in (("train", 20), ("validation", 5), ("test", 5))
    }
    return replace(dataset, **splits)


class Watched(nn.Module):
    """Notes in which mode it is called."""

    def __init__(self, network):
        super().__init__()
        self.network, self.modes = network, set()

    def forward(self, images):
        self.modes.add(self.training)
        return self.network(images)


@pytest.mark.parametrize("architecture", SMALL_SIZES)
def test_an_evaluation_attacks_in_evaluation_mode_and_changes_nothing(architecture):
    dataset = few_images()
    network = Watched(small_builder(architecture)(dataset.task.image_shape, 3))
    before = [value.clone() for value in network.state_dict().values()]
    evaluate(network, dataset.test, epsilon=0.05, tier="rank")
    budget = AttackBudget(steps=2, restarts=1, queries=3)
    evaluate_final(
        network, dataset.test, epsilon=0.05, training=dataset.train, surrogates={"it": network}, budget=budget
    )
    assert network.modes == {False}
    assert network.training
    assert all(torch.equal(value, kept) for value, kept in zip(network.state_dict().values(), before, strict=True))


@pytest.mark.parametrize("trainable", CONFIGURATIONS)
def test_a_residual_network_is_trained_and_goes_on_from_its_state_bit_for_bit(trainable, config_of):
    dataset = few_images()
    classifier = {"architecture": "preact_resnet18", "width": 2, "average_decay": 0.5}
    config = config_of(trainable, compute=2.0, report_every=1.0, batch_size=10, classifier=classifier)
    whole, first, second = (registry.build(config, dataset) for _ in range(3))
    whole.step()
    expected = whole.step()
    first.step()
    second.restore(copy.deepcopy(first.state()))
    found = second.step()
    assert {k: v for k, v in found.items() if not k.endswith("_s")} == {
        k: v for k, v in expected.items() if not k.endswith("_s")
    }
    ours, theirs = whole.result.state_dict(), second.result.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_average_of_weights_has_averaged_statistics(dataset, config_of):
    loop = registry.build(
        config_of("standard", compute=1.0, batch_size=BATCH, classifier={"average_decay": 0.5}), dataset
    )
    before = loop.average.network[1].running_mean.clone()
    loop.step()
    statistics = loop.average.network[1]
    assert not torch.equal(statistics.running_mean, before)
    assert num_batches(loop.average.network) == num_batches(loop.classifier) > 0


def test_buffers_have_their_values_again_also_after_an_error():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    images = torch.rand(6, 1, 2, 2)
    with buffers_kept(network):
        gradient.fgsm(network, images, torch.zeros(6).long(), 0.1)
    with pytest.raises(ArithmeticError), buffers_kept(network):
        _pass_and_fail(network, images)
    assert num_batches(network) == 0
    assert torch.equal(network[1].running_mean, torch.zeros(4))


def _pass_and_fail(network, images):
    network(images)
    raise ArithmeticError
