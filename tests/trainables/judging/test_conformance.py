"""Networks of a user's own that can be trained and attacked, and each kind that cannot."""

import pytest
import torch
from torch import nn

from tests.support.networks import small_builder
from trainables.common.tasks import Task
from trainables.config.plugins import user_code
from trainables.config.plugins.registries import CLASSIFIERS
from trainables.errors import UserError
from trainables.judging.conformance import check_network
from trainables.networks.classifiers import network_builder

TASK = Task((3, 8, 8), ("a", "b", "c"))


def linear(num_outputs=3, dtype=torch.float32):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_outputs, dtype=dtype))


class Applied(nn.Module):
    """A linear network around which something is done."""

    def __init__(self, before=lambda images: images, after=lambda logits: logits):
        super().__init__()
        self.net, self.before, self.after = linear(), before, after
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, images):
        return self.after(self.net(self.before(images)))


class Counting(Applied):
    def forward(self, images):
        self.calls += 1
        return super().forward(images)


def half_weights():
    return linear(dtype=torch.float16)


@pytest.mark.parametrize("architecture", CLASSIFIERS.ours)
def test_ours_pass(architecture):
    check_network(small_builder(architecture), architecture, TASK)


@pytest.mark.parametrize(
    "network",
    [
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(3)
        ),
        lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3)),
    ],
)
def test_usual_networks_pass(network):
    def build(image_shape, num_classes):
        net = network()
        net(torch.zeros(2, *image_shape))  # gives lazy layers their shape
        return net

    check_network(build, "net.py:build", TASK)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: linear(4), r"shape \(3, 3\), one for each of the 3 classes, for 3 images; it returns \(3, 4\)"),
        (lambda: Applied(after=lambda logits: logits[:, :, None]), r"it returns \(3, 3, 1\)"),
        (lambda: Applied(after=lambda logits: (logits, 1)), "not tuple"),
        (half_weights, r"weights in float16 \(1.weight\)"),
        (lambda: Applied(after=torch.Tensor.half), "must return float32, not float16"),
        (lambda: Applied(after=torch.Tensor.double), "must return float32, not float64"),
        (lambda: Applied(after=lambda logits: logits + torch.rand(1)), "other logits for equal images"),
        (lambda: Applied(before=torch.Tensor.detach), "no gradient for its images"),
        (
            lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Hardtanh(-0.5, 0.2, inplace=True), linear()),
            "changes its images",
        ),
        (lambda: Applied(after=lambda logits: logits / 0), "NaN or infinite"),
        (lambda: linear().requires_grad_(False), "no weights to train"),
        (Counting, "changes its state in evaluation mode"),
        (lambda: nn.Linear(7, 3), "fails on images of the shape"),
    ],
)
def test_others_are_refused_by_name(network, message):
    with pytest.raises(UserError, match=message) as caught:
        check_network(lambda image_shape, num_classes: network(), "net.py:build", TASK)
    assert str(caught.value).startswith("net.py:build ")


def test_weights_must_come_from_torchs_random_numbers():
    import numpy as np

    def build(image_shape, num_classes):
        net = linear()
        with torch.no_grad():
            net[1].weight.copy_(torch.from_numpy(np.random.default_rng().random((3, 192))))
        return net

    with pytest.raises(UserError, match="built twice with one seed its weights differ"):
        check_network(build, "net.py:build", TASK)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"def build(image_shape, num_classes):\n    return 3\n", "must return a torch.nn.Module, not int"),
        (b"def build():\n    pass\n", "fails when it is called with the image shape"),
        (b"def build(*_):\n    raise SystemExit(7)\n", "fails when it is called with the image shape"),
        (b"def build(image_shape, num_classes):\n    return 1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_functions_that_build_nothing(source, message):
    build = network_builder("net.py:build", {"net.py": user_code.provide(source)})
    with pytest.raises(UserError, match=message):
        check_network(build, "net.py:build", TASK)
