"""Doubts about what was measured: a net that was trained on normalised images of MNIST, and what its file states."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainables.judging.saved import evaluate_classifier, load_classifier
from trainables.networks.classifiers import mlp, small_cnn
from trainables.networks.normalization import Normalization

MNIST = Normalization(0.1307, 0.3081)


@pytest.fixture(scope="module")
def trained_on_normalised(mnist):
    """A network with some 94 % on normalised images, and less on others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = small_cnn((1, 28, 28), 10)
        order = torch.randperm(len(mnist.train))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for index in order[: 64 * 200].split(64):
        images, labels = mnist.train.batch(index)
        optimizer.zero_grad()
        cross_entropy(net((images - MNIST.mean) / MNIST.std), labels).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture
def evaluate(tmp_path):
    """Return a function that saves something and evaluates the file on MNIST's first test images."""

    def run(content, normalization=None):
        torch.save(content, tmp_path / "net.pt")
        trained = load_classifier(tmp_path / "net.pt", normalization=normalization)
        return evaluate_classifier(trained, "test", num_images=200)

    return run


def layer():
    saved = nn.Module()
    saved.register_buffer("mean", torch.tensor([MNIST.mean]))
    saved.register_buffer("std", torch.tensor([MNIST.std]))
    return saved


def test_a_net_of_normalised_images_is_said_to_be_one(trained_on_normalised, evaluate):
    plain = evaluate(trained_on_normalised.state_dict())
    assert "on normalised ones, as it was probably trained: add --mean 0.1307 --std 0.3081" in plain["notes"][-1]
    with_options = evaluate(trained_on_normalised.state_dict(), MNIST)
    with_buffers = evaluate(nn.Sequential(layer(), trained_on_normalised).state_dict())
    assert with_options["metrics"] == with_buffers["metrics"]
    assert with_options["metrics"]["clean"] > max(0.9, plain["metrics"]["clean"])
    for result in (with_options, with_buffers):
        assert not any("clean accuracy" in note for note in result["notes"])


def test_the_radius_stays_in_pixels(trained_on_normalised, mnist, tmp_path):
    torch.save(trained_on_normalised.state_dict(), tmp_path / "net.pt")
    trained = load_classifier(tmp_path / "net.pt", normalization=MNIST, epsilon=0.05)
    images, labels = mnist.test.batch(torch.arange(50))
    leaf = images.clone().requires_grad_()
    cross_entropy(trained_on_normalised((leaf - MNIST.mean) / MNIST.std), labels, reduction="sum").backward()
    fooled = (images + 0.05 * leaf.grad.sign()).clamp(0, 1)
    expected = (trained.classifier(fooled).argmax(-1) == labels).double().mean()
    assert evaluate_classifier(trained, "test", num_images=50)["metrics"]["fgsm"] == pytest.approx(expected)


def test_far_below_what_the_file_states(trained_on_normalised, evaluate):
    content = {"test_acc": 99.4, "state_dict": trained_on_normalised.state_dict()}
    assert "far below the 99.4 % that the file states" in evaluate(content, MNIST)["notes"][-1]
    content["test_acc"] = 0.93
    assert not any("states" in note for note in evaluate(content, MNIST)["notes"])


def test_a_net_that_knows_no_digit_and_one_whose_logits_are_not_finite(evaluate):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = mlp((1, 28, 28), 10)
    assert "nearly every network has 90 % or more: perhaps" in evaluate(net.state_dict())["notes"][-1]
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1e30)
    result = evaluate(net.state_dict())
    assert result["metrics"]["clean"] == 0
    assert result["notes"][1] == "200 of 200 images have a logit that is NaN or infinite; these count as wrong"
