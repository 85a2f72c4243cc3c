"""Attacks that go on with images that are misclassified, as on a GPU, find what attacks find that leave them out."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.trainables.conftest import random_problem, rng_of
from trainables.attacks import square as square_module
from trainables.attacks.apgd import apgd, apgd_targeted
from trainables.attacks.combined import apgd_square
from trainables.attacks.gradient import pgd_survivors
from trainables.attacks.losses import LOSSES, is_correct
from trainables.attacks.square import square

ATTACKS = {
    "PGD": (pgd_survivors, {"steps": 6}),
    "PGD, restarts": (pgd_survivors, {"steps": 3, "restarts": 3, "loss": LOSSES["margin"]}),
    "APGD": (apgd, {"steps": 12}),
    "APGD, restarts": (apgd, {"steps": 6, "restarts": 2, "loss": LOSSES["dlr"]}),
    "APGD, targets": (apgd_targeted, {"steps": 5, "num_targets": 3}),
    "Square": (square, {"queries": 40}),
    "APGD, then Square": (apgd_square, {"steps": 2, "queries": 10, "nearest": 4}),
    "APGD, targets, Square": (apgd_square, {"steps": 4, "queries": 5, "nearest": 4, "targets": 2}),
}


def problem(seed):
    """Return a network that takes one image at a time, and 16 images of which 12 or more are correct."""
    model, images, labels = random_problem(seed, (16,))
    labels[:12] = model(images).argmax(-1)[:12]

    def one_by_one(inputs):  # the bits of a product of matrices depend on the number of rows
        return torch.cat([model(image) for image in inputs.split(1)]) if len(inputs) else model(inputs)

    return one_by_one, images, labels


@pytest.mark.parametrize(("attack", "options"), ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("seed", range(3))
def test_both_return_the_same_images(attack, options, seed):
    model, images, labels = problem(seed)
    dropping, keeping = (
        attack(model, images, labels, 0.02, **options, rng=rng_of(seed), drops=drops) for drops in (True, False)
    )
    assert torch.equal(dropping, keeping)
    survives = is_correct(model(keeping), labels)
    assert 0 < int(survives.sum()) < 12


@pytest.mark.parametrize("seed", range(3))
def test_square_by_itself_leaves_images_out_now_and_then_on_a_gpu(seed, monkeypatch):
    model, images, labels = problem(seed)
    sizes = []

    def counting(inputs):
        sizes.append(len(inputs))
        return model(inputs)

    dropping = square(model, images, labels, 0.02, queries=150, rng=rng_of(seed), drops=True)
    monkeypatch.setattr(square_module, "drops_images", lambda images: False)
    assert torch.equal(square(counting, images, labels, 0.02, queries=150, rng=rng_of(seed)), dropping)
    first = sizes[1]
    assert sizes[1:65] == [first] * 64
    assert 0 < sizes[-1] < first


@pytest.mark.parametrize(("attack", "options"), ATTACKS.values(), ids=ATTACKS)
def test_nothing_is_decided_by_the_values_of_tensors(attack, options):
    # A tensor without values refuses to be read, as a CUDA graph does.
    model, images, labels = random_problem(0, (16,))
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert attack(model, images, labels, 0.02, **options, rng=rng_of(), drops=False).shape == images.shape
        with pytest.raises(RuntimeError, match="aten"):
            attack(model, images, labels, 0.02, **options, rng=rng_of(), drops=True)
