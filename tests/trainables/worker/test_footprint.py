"""What is measured of a run: it does on any device all that a run does which takes memory."""

from __future__ import annotations

import pytest

from trainables.training import registry
from trainables.worker.footprint import heaviest, train_a_little


@pytest.mark.parametrize("trainable", registry.LOOPS)
def test_every_recipe_can_be_measured(trainable, settings_of, digits):
    train_a_little(settings_of(trainable), digits)


def test_the_heaviest_has_the_most_weights_and_images(settings_of):
    small = settings_of("standard")
    large = settings_of("standard", batch_size=2 * small["batch_size"])
    assert heaviest([small, large, small]) == large
