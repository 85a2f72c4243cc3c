"""Tests that every network passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from trainables.common.tasks import ImageShape, Task
from trainables.judging.conformance import check_network
from trainables.networks.classifiers import NetworkBuilder, build_seeded, network_builder
from trainables.testing.threads import SingleThreadedTests


class NetworkTests(SingleThreadedTests):
    """Tests of a network; a class made from this names it.

    Attributes:
        network: the name of a network of an installed package, or a function of the images' shape and the number of
            classes that returns a module.
        options: settings of a network of a package, if it has any.
        image_shapes: channels, height and width of images that it takes.
        num_classes: of the task.
    """

    network: ClassVar[str | Callable[..., nn.Module]]
    options: ClassVar[Mapping[str, Any]] = {}
    image_shapes: ClassVar[tuple[ImageShape, ...]] = ((1, 28, 28), (3, 32, 32))
    num_classes: ClassVar[int] = 7

    @pytest.fixture
    def build(self) -> NetworkBuilder:
        """Return the function that builds the network."""
        network = type(self).network
        return network_builder(network, {}, type(self).options) if isinstance(network, str) else network

    def test_gives_logits_through_which_it_can_be_trained_and_attacked(self, build: NetworkBuilder) -> None:
        """It passes what a launch looks at: logits in float32, gradients, equal weights and outputs twice."""
        for shape in self.image_shapes:
            classes = tuple(map(str, range(self.num_classes)))
            check_network(build, "the network", Task(shape, classes, 1 / self.num_classes))

    def test_an_image_does_not_care_about_the_others(self, build: NetworkBuilder) -> None:
        """In evaluation mode the logits of an image are the same alone as in a batch, but for rounding."""
        for shape in self.image_shapes:
            images = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))
            network = build_seeded(partial(build, shape, self.num_classes), 0)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                network.train()(images)  # so that statistics of batches are others than at the beginning
                network.eval()
                together = network(images)
                alone = torch.cat([network(image[None]) for image in images])
            assert together.shape == (5, self.num_classes)
            assert together.dtype == torch.float32
            torch.testing.assert_close(alone, together)

    def test_weights_follow_from_the_seed_alone(self, build: NetworkBuilder) -> None:
        """Built twice with one seed they are equal, with another one they differ."""
        shape = self.image_shapes[0]
        state = torch.random.get_rng_state()
        first, again, other = (
            torch.cat([weight.detach().flatten() for weight in network.parameters()])
            for network in (build_seeded(partial(build, shape, self.num_classes), seed) for seed in (5, 5, 6))
        )
        assert torch.equal(torch.random.get_rng_state(), state)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
