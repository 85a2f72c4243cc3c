"""Attacks that go on with images that are misclassified, as on a GPU, find what attacks find that leave them out."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.trainables.conftest import random_problem, rng_of
from trainables.attacks.apgd import apgd, apgd_targeted
from trainables.attacks.gradient import pgd_survivors
from trainables.attacks.losses import LOSSES, is_correct
from trainables.attacks.square import square

ATTACKS = {
    "PGD": (pgd_survivors, {"steps": 6}),
    "PGD, restarts": (pgd_survivors, {"steps": 3, "restarts": 3, "loss": LOSSES["margin"]}),
    "APGD": (apgd, {"steps": 12}),
    "APGD, restarts": (apgd, {"steps": 6, "restarts": 2, "loss": LOSSES["dlr"]}),
    "APGD, targets": (apgd_targeted, {"steps": 5, "num_targets": 3}),
}

# Square leaves images out after every 64 queries.
WITH_SQUARE = {**ATTACKS, "Square": (square, {"queries": 150})}


@pytest.mark.parametrize(("attack", "options"), WITH_SQUARE.values(), ids=WITH_SQUARE)
@pytest.mark.parametrize("seed", range(3))
def test_both_return_the_same_images(attack, options, seed):
    model, images, labels = random_problem(seed, (16,))
    labels[:12] = model(images).argmax(-1)[:12]

    def one_by_one(inputs):  # the bits of a product of matrices depend on the number of rows
        return torch.cat([model(image) for image in inputs.split(1)])

    dropping, keeping = (
        attack(one_by_one, images, labels, 0.02, **options, rng=rng_of(seed), drops=drops) for drops in (True, False)
    )
    assert torch.equal(dropping, keeping)
    survives = is_correct(model(keeping), labels)
    assert 0 < int(survives.sum()) < 12


@pytest.mark.parametrize(("attack", "options"), ATTACKS.values(), ids=ATTACKS)
def test_nothing_is_decided_by_the_values_of_tensors(attack, options):
    # A tensor without values refuses to be read, as a CUDA graph does.
    model, images, labels = random_problem(0, (16,))
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert attack(model, images, labels, 0.02, **options, rng=rng_of(), drops=False).shape == images.shape
        with pytest.raises(RuntimeError, match="aten"):
            attack(model, images, labels, 0.02, **options, rng=rng_of(), drops=True)
