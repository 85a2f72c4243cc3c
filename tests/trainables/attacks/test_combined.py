"""APGD and then Square: what the second adds to the first, and on which images."""

import pytest
import torch

from tests.trainables.attacks.test_apgd import Recorder
from tests.trainables.conftest import random_problem, rng_of
from trainables.attacks.apgd import apgd
from trainables.attacks.combined import apgd_square
from trainables.attacks.losses import is_correct, margin
from trainables.attacks.square import square

STEPS = 5


def attack(model, images, labels, epsilon, **options):
    return apgd_square(model, images, labels, epsilon, steps=STEPS, rng=rng_of(), **options)


def half_blind(model):
    """Return the model with no gradient at the lower half of the images."""
    return lambda inputs: model(torch.cat([inputs[..., :14, :], inputs[..., 14:, :].detach()], -2))


def test_square_goes_on_with_the_images_of_the_largest_margin_from_where_they_are(trained, digits):
    model, images = half_blind(trained), digits.test.batch(torch.arange(50))[0]
    labels = model(images).argmax(-1)
    found = apgd(model, images, labels, 0.05, steps=STEPS, loss=margin, rng=rng_of())
    margins = margin(model(found), labels).masked_fill(~is_correct(model(found), labels), -torch.inf)
    nearest = set(margins.topk(10).indices.tolist())
    further = attack(model, images, labels, 0.05, queries=100, nearest=10)
    changed = {index for index in range(len(images)) if not torch.equal(further[index], found[index])}
    assert changed
    assert changed <= nearest
    assert (margin(model(further), labels) >= margins - 1e-5).all()
    assert ((further - images).abs() <= 0.05 + 1e-6).all()


@pytest.mark.parametrize("targets", [0, 4])
@pytest.mark.parametrize("nearest", [1, 1000])
def test_an_image_that_apgd_fools_is_left_as_it_is(trained, digits, nearest, targets):
    images, labels = digits.test.batch(torch.arange(100))
    found = apgd(trained, images, labels, 0.05, steps=STEPS, loss=margin, rng=rng_of())
    fooled = ~is_correct(trained(found), labels)
    further = attack(trained, images, labels, 0.05, queries=20, nearest=nearest, targets=targets)
    assert 0 < int(fooled.sum()) < 100
    assert torch.equal(further[fooled], found[fooled])
    assert int(is_correct(trained(further), labels).sum()) <= int((~fooled).sum())


def test_finds_more_than_square_finds_from_its_own_start(trained, digits):
    model, (images, labels) = half_blind(trained), digits.test.batch(torch.arange(200))
    found = apgd(model, images, labels, 0.05, steps=STEPS, loss=margin, rng=rng_of())
    left = is_correct(model(found), labels)
    images, labels, found = images[left], labels[left], found[left]

    def num_fooled(**options):
        moved = square(model, images, labels, 0.05, queries=100, rng=rng_of(), **options)
        return int((~is_correct(model(moved), labels)).sum())

    assert num_fooled(start=found) > num_fooled()


def test_finds_what_no_gradient_leads_to():
    def model(inputs):  # in steps: every gradient is zero
        dark = (inputs < 0.45).flatten(1).sum(1)
        return torch.stack([300.0 - dark, dark - 300.0], -1).round() + 0.0 * inputs.flatten(1).sum(1, keepdim=True)

    images, labels = torch.full((20, 1, 28, 28), 0.5), torch.zeros(20, dtype=torch.int64)
    found = apgd(model, images, labels, 0.1, steps=STEPS, loss=margin, rng=rng_of())
    assert is_correct(model(found), labels).all()
    assert not is_correct(model(attack(model, images, labels, 0.1, queries=200, nearest=20, targets=4)), labels).any()


@pytest.mark.parametrize("queries", [0, 20])
def test_no_correct_image_is_no_work(queries):
    model, images, _ = random_problem(33)
    wrong = (model(images).argmax(-1) + 1) % 10
    recorder = Recorder(model)
    assert torch.equal(attack(recorder, images, wrong, 0.1, queries=queries, nearest=5), images)
    assert len(recorder.batches) == 3  # each attack looks once, and so does the choice of images
