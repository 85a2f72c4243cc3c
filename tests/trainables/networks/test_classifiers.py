"""Networks: shapes, sizes, seeds."""

from functools import partial

import pytest
import torch

from tests.support.networks import SMALL_SIZES
from trainables.common.tasks import MNIST
from trainables.config import ClassifierConfig, GeneratorConfig
from trainables.config.plugins.registries import CLASSIFIERS, GENERATORS
from trainables.networks import classifiers, generators

build_classifier = partial(classifiers.build_classifier, task=MNIST)
build_generator = partial(generators.build_generator, task=MNIST)

LEADING = [(), (3,), (2, 3), (1, 2, 1)]
IMAGE_GRADIENTS = ["none", "raw", "sign", "normalized"]


def small(architecture):
    return ClassifierConfig(architecture=architecture, **SMALL_SIZES.get(architecture, {}))


def random_images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("architecture", CLASSIFIERS)
class TestEveryClassifier:
    @pytest.mark.parametrize("leading", LEADING)
    def test_takes_any_leading_dimensions(self, architecture, leading):
        classifier = build_classifier(small(architecture))
        images = random_images(*leading, 1, 28, 28)
        logits = classifier(images)
        assert logits.shape == (*leading, 10)
        torch.testing.assert_close(logits.reshape(-1, 10), classifier(images.reshape(-1, 1, 28, 28)))

    def test_takes_an_empty_batch(self, architecture):
        classifier = build_classifier(small(architecture)).eval()
        assert classifier(torch.zeros(0, 1, 28, 28)).shape == (0, 10)

    def test_it_is_an_architecture_of_the_configuration(self, architecture):
        assert ClassifierConfig(architecture=architecture).architecture == architecture


@pytest.mark.parametrize(
    ("architecture", "expected"), [("small_cnn", 166_406), ("madry_cnn", 3_274_634), ("mlp", 269_322)]
)
def test_num_parameters(architecture, expected):
    assert num_parameters(build_classifier(ClassifierConfig(architecture=architecture))) == expected


def test_no_random_source_but_the_cpu_is_seeded(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    build_classifier(ClassifierConfig(), seed=5)
    assert seeded == []


@pytest.mark.parametrize("image_gradient", IMAGE_GRADIENTS)
@pytest.mark.parametrize("body", GENERATORS)
class TestEveryGenerator:
    @pytest.mark.parametrize("leading", LEADING)
    def test_takes_any_leading_dimensions(self, body, image_gradient, leading):
        generator = build_generator(GeneratorConfig(body=body, image_gradient=image_gradient, width=8))
        channels = 1 if image_gradient == "none" else 2
        seen = random_images(*leading, channels, 28, 28)
        perturbation = generator(seen)
        assert perturbation.shape == (*leading, 1, 28, 28)
        flat = generator(seen.reshape(-1, channels, 28, 28))
        torch.testing.assert_close(perturbation.reshape(-1, 1, 28, 28), flat)

    def test_starts_off_zero_and_off_saturation(self, body, image_gradient):
        generator = build_generator(GeneratorConfig(body=body, image_gradient=image_gradient, width=8))
        perturbation = generator(random_images(4, 1 if image_gradient == "none" else 2, 28, 28))
        assert 0.01 < perturbation.abs().max() < 1

    @pytest.mark.parametrize("width", [1, 3])
    def test_can_be_narrow(self, body, image_gradient, width):
        generator = build_generator(GeneratorConfig(body=body, image_gradient=image_gradient, width=width))
        assert generator(random_images(2, 1 if image_gradient == "none" else 2, 28, 28)).shape == (2, 1, 28, 28)

    def test_weights_follow_from_the_seed_alone(self, body, image_gradient):
        config = GeneratorConfig(body=body, image_gradient=image_gradient, width=8)
        before = torch.random.get_rng_state()
        first = weights(build_generator(config, seed=5))
        assert torch.equal(torch.random.get_rng_state(), before)
        assert torch.equal(weights(build_generator(config, seed=5)), first)
        assert not torch.equal(weights(build_generator(config, seed=6)), first)

    def test_numbers_of_the_whole_image_are_constant_planes(self, body, image_gradient):
        """The sum of planes' convolutions, away from the border, is one number per output channel."""
        config = GeneratorConfig(body=body, image_gradient=image_gradient, width=8, see_label=True, noise=2)
        generator = build_generator(config, seed=5)
        plain = build_generator(GeneratorConfig(body=body, image_gradient=image_gradient, width=8), seed=5)
        channels = 1 if image_gradient == "none" else 2
        seen, numbers = random_images(2, 3, channels, 28, 28), random_images(2, 3, 12)
        perturbation = generator(seen, numbers)
        assert perturbation.shape == (2, 3, 1, 28, 28)
        torch.testing.assert_close(generator(seen, torch.zeros(2, 3, 12)), plain(seen))
        flat = generator(seen.reshape(6, channels, 28, 28), numbers.reshape(6, 12))
        torch.testing.assert_close(perturbation.reshape(6, 1, 28, 28), flat)
        assert ((perturbation - plain(seen)).abs().amax((-3, -2, -1)) > 1e-4).all()

    def test_the_output_scale_is_where_it_starts(self, body, image_gradient):
        channels = 1 if image_gradient == "none" else 2
        seen = random_images(4, channels, 28, 28)
        one, ten = (
            build_generator(GeneratorConfig(body=body, image_gradient=image_gradient, output_scale=scale), seed=5)
            for scale in (1.0, 10.0)
        )
        assert ten.scale.item() == 10
        torch.testing.assert_close(one(seen).atanh() * 10, ten(seen).atanh(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_output_has_the_precision_of_the_input(dtype):
    images = random_images(2, 1, 28, 28).to(dtype)
    for network in (build_classifier(ClassifierConfig()), build_generator(GeneratorConfig(image_gradient="none"))):
        assert network.to(dtype)(images).dtype == dtype
        with torch.autocast("cpu", torch.bfloat16):
            assert network(images).dtype == dtype
