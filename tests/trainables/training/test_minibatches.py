"""Minibatches: complete epochs, orders that follow from the seed, and one count as their whole state."""

from itertools import chain

import pytest
import torch

from trainables.common.tasks import MNIST
from trainables.data.tensors import Split
from trainables.training.minibatches import Minibatches


@pytest.fixture
def numbered():
    """Ten images whose label says which they are, and whose pixels say the same."""
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 28, 28).contiguous()
    return Split(images, torch.arange(10), MNIST)


def epoch(minibatches):
    return [minibatches.next_minibatch()[1].tolist() for _ in range(minibatches.per_epoch)]


def test_an_epoch_is_every_image_once_with_a_smaller_last_batch(numbered):
    minibatches = Minibatches(numbered, 4, seed=1)
    assert minibatches.per_epoch == 3
    for _ in range(2):
        batches = epoch(minibatches)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert sorted(chain(*batches)) == list(range(10))


@pytest.mark.parametrize(("batch_size", "per_epoch"), [(1, 10), (5, 2), (10, 1), (64, 1)])
def test_batches_per_epoch(numbered, batch_size, per_epoch):
    minibatches = Minibatches(numbered, batch_size, seed=1)
    assert minibatches.per_epoch == per_epoch
    assert sorted(chain(*epoch(minibatches))) == list(range(10))


def test_any_minibatch_can_be_had_again(numbered):
    minibatches = Minibatches(numbered, 4, seed=1)
    drawn = [minibatches.next_minibatch() for _ in range(8)]
    for number in (7, 0, 4, 3):
        assert all(map(torch.equal, minibatches.at(number), drawn[number]))
    assert minibatches.num_drawn == 8


def test_images_come_with_their_labels_in_the_unit_interval(numbered):
    images, labels = Minibatches(numbered, 4, seed=1).next_minibatch()
    assert (images.shape, images.dtype) == ((4, 1, 28, 28), torch.float32)
    assert torch.equal(images[:, 0, 0, 0], labels / 255)


def test_every_epoch_and_every_seed_has_its_own_order(numbered):
    minibatches = Minibatches(numbered, 10, seed=1)
    orders = [epoch(minibatches)[0], epoch(minibatches)[0], epoch(Minibatches(numbered, 10, seed=2))[0]]
    assert len({tuple(order) for order in [*orders, range(10)]}) == 4


def test_the_order_does_not_depend_on_the_global_random_state(numbered):
    first = epoch(Minibatches(numbered, 4, seed=1))
    before = torch.random.get_rng_state()
    torch.rand(3)
    again = Minibatches(numbered, 4, seed=1)
    torch.random.set_rng_state(before)
    assert epoch(again) == first
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("drawn", [0, 1, 3, 5, 7])
def test_setting_the_count_is_the_whole_restore(numbered, drawn):
    original = Minibatches(numbered, 4, seed=1)
    for _ in range(drawn):
        original.next_minibatch()
    restored = Minibatches(numbered, 4, seed=1)
    restored.next_minibatch()
    restored.num_drawn = original.num_drawn
    assert original.num_drawn == drawn
    assert epoch(restored) == epoch(original)
