"""Random crops and flips: what they do, and that a run draws them again."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.trainables.training.test_batch_normalisation import few_images
from trainables.config import CONFIGURATIONS, AugmentationConfig, parse
from trainables.data.augmentation import augment
from trainables.training import registry
from trainables.training.minibatches import Minibatches

BOTH = {"crop": 2, "flip": True}


def images_of(batch=200, size=6):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_a_crop_is_one_of_all_shifts_with_black_at_the_edges():
    images = images_of()
    shifted = augment(images, AugmentationConfig(crop=1), 0)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    shifts = torch.stack([padded[:, :, top : top + 6, left : left + 6] for top in range(3) for left in range(3)])
    is_it = (shifts == shifted).flatten(2).all(2)
    assert (is_it.sum(0) == 1).all()
    assert (is_it.sum(1) > 5).all()


def test_about_half_is_flipped_and_nothing_else_happens():
    images = images_of()
    flipped = augment(images, AugmentationConfig(flip=True), 0)
    same, mirrored = ((flipped == other).flatten(1).all(1) for other in (images, images.flip(-1)))
    assert (same ^ mirrored).all()
    assert 70 < same.sum() < 130


def test_the_seed_alone_decides():
    images, settings = images_of(), AugmentationConfig(**BOTH)
    state = torch.random.get_rng_state()
    assert torch.equal(augment(images, settings, 3), augment(images, settings, 3))
    assert not torch.equal(augment(images, settings, 3), augment(images, settings, 4))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_image_is_another_one_in_each_epoch_and_the_same_again_by_its_number():
    split = few_images().train
    minibatches = Minibatches(split, 20, 0, AugmentationConfig(**BOTH))
    first, _ = minibatches.next_minibatch()
    second, _ = minibatches.next_minibatch()
    assert not torch.equal(first.flatten(1).sum(1).sort().values, second.flatten(1).sum(1).sort().values)
    assert torch.equal(minibatches.at(0)[0], first)


@pytest.mark.parametrize("trainable", CONFIGURATIONS)
def test_every_recipe_goes_on_from_its_state_bit_for_bit(trainable, config_of):
    few = {"watch_images": 2, "rank_images": 2}
    changes = {"augmentation": BOTH, "evaluation": few, "classifier": {"schedule": "constant"}}
    config = config_of(trainable, compute=10.0, report_every=5.0, batch_size=10, **changes)
    whole, first, second = (registry.build(config, few_images()) for _ in range(3))
    whole.step()
    whole.step()
    first.step()
    second.restore(copy.deepcopy(first.state()))
    second.step()
    ours, theirs = whole.result.state_dict(), second.result.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    plain = registry.build(config.model_copy(update={"augmentation": AugmentationConfig()}), few_images())
    plain.step()
    plain.step()
    assert any(not torch.equal(ours[name], value) for name, value in plain.result.state_dict().items())


def test_settings_without_it_are_as_they_were():
    assert "augmentation" not in parse({"trainable": "pgd"}).model_dump(mode="json")
    kept = parse({"trainable": "pgd", "augmentation": {"crop": 4}}).model_dump(mode="json")
    assert kept["augmentation"] == {"crop": 4, "flip": False}
    assert "code" not in kept
