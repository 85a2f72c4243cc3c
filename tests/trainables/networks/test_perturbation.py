"""How a generator perturbs images."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.attacks import gradient as attacks
from trainables.attacks.losses import cross_entropy
from trainables.common.tasks import MNIST
from trainables.config import GeneratorConfig
from trainables.networks.generators import build_generator
from trainables.networks.perturbation import (
    gradient_channel,
    input_channels,
    input_vector,
    perturb_images,
    sample_inputs,
)

KINDS = ["raw", "sign", "normalized"]
GENERATOR = {
    "body": st.sampled_from(["space_to_depth", "strided", "residual"]),
    "image_gradient": st.sampled_from(["none", *KINDS]),
    "see_label": st.booleans(),
    "see_perturbation": st.booleans(),
    "noise": st.integers(0, 3),
    "perturbation_sign": st.sampled_from(["both", "positive", "negative"]),
    "random_start": st.booleans(),
    "recursions": st.integers(1, 4),
    "recursion_step": st.floats(0.05, 1.0),
    "output_scale": st.floats(0.1, 50.0),
    "target": st.none() | st.integers(0, 9),
}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def config_of(**changes):
    goal = "untargeted" if changes.get("target") is None else "targeted"
    return GeneratorConfig(**{"width": 4, "goal": goal, **changes})


@pytest.fixture(scope="module")
def images_and_labels(digits):
    return digits.test.batch(torch.arange(6))


@settings(max_examples=60, deadline=None)
@given(data=st.fixed_dictionaries(GENERATOR), bound=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_whatever_the_settings_images_stay_in_the_ball_and_the_box(trained, images_and_labels, data, bound, seed):
    images, labels = images_and_labels
    config = config_of(**data)
    generator = build_generator(config, MNIST, seed)

    def once():
        return perturb_images(
            config, generator, trained, sample_inputs(config, images, labels, bound, rng(seed)), bound
        ).images

    result = once()
    assert result.shape == images.shape
    assert (result - images).abs().max() <= bound + 1e-6
    assert 0 <= result.min() <= result.max() <= 1
    assert torch.equal(result, once())


@pytest.mark.parametrize(("sign", "lowest", "highest"), [("positive", 0, 1), ("negative", -1, 0), ("both", -1, 1)])
def test_perturbations_have_the_sign_that_the_settings_say_and_its_whole_range(
    trained, images_and_labels, sign, lowest, highest
):
    _, labels = images_and_labels
    grey = torch.full_like(images_and_labels[0], 0.5)  # away from the borders of the box
    config = config_of(output_scale=1e4, perturbation_sign=sign)
    inputs = sample_inputs(config, grey, labels, 0.2, rng())
    moved = perturb_images(config, build_generator(config, MNIST), trained, inputs, 0.2).images - grey
    assert moved.min().item() == pytest.approx(0.2 * lowest, abs=1e-6)
    assert moved.max().item() == pytest.approx(0.2 * highest, abs=1e-6)


class TestRecursions:
    def largest_move(self, trained, images_and_labels, **changes):
        images, labels = images_and_labels
        # A scale so large that every pixel moves as far as it may.
        config = config_of(output_scale=1e6, **changes)
        inputs = sample_inputs(config, images, labels, 0.2, rng())
        generator = build_generator(config, MNIST)
        return (perturb_images(config, generator, trained, inputs, 0.2).images - images).abs().max().item()

    def test_one_goes_the_whole_bound_and_more_a_share_each(self, trained, images_and_labels):
        assert self.largest_move(trained, images_and_labels, recursion_step=0.1) == pytest.approx(0.2, abs=1e-6)
        several = self.largest_move(trained, images_and_labels, recursions=2, recursion_step=0.25)
        assert several == pytest.approx(0.1, abs=1e-6)
        more = self.largest_move(trained, images_and_labels, recursions=4, recursion_step=0.5)
        assert 0.1 < more <= 0.2 + 1e-6

    def test_each_sees_what_the_one_before_has_made(self, trained, images_and_labels, monkeypatch):
        config = config_of(recursions=3, see_perturbation=True)
        inputs = sample_inputs(config, *images_and_labels, 0.2, rng())
        seen, generator = [], build_generator(config, MNIST)
        monkeypatch.setattr(
            generator.body, "forward", lambda now: seen.append(now) or 0.1 * torch.ones_like(now[:, :1])
        )
        result = perturb_images(config, generator, trained, inputs, 0.2).images
        assert torch.equal(seen[0][:, :1], inputs.images)
        for now in seen:
            assert torch.equal(now, input_channels(config, trained, now[:, :1], inputs, 0.2))
        assert not torch.equal(seen[1][:, 1], seen[2][:, 1])
        assert (result - inputs.images).max() > (seen[2][:, :1] - inputs.images).max() > 0

    def test_the_graph_leads_through_the_last_alone(self, trained, images_and_labels, monkeypatch):
        config = config_of(recursions=3)
        inputs = sample_inputs(config, *images_and_labels, 0.2, rng())
        generator, made = build_generator(config, MNIST), []
        forward = generator.body.forward
        monkeypatch.setattr(generator.body, "forward", lambda seen: made.append((seen, forward(seen))) or made[-1][1])
        assert perturb_images(config, generator, trained, inputs, 0.2).images.requires_grad
        assert [output.requires_grad for _, output in made] == [False, False, True]
        assert not any(seen.requires_grad for seen, _ in made)
        pre_activation = perturb_images(config, generator, trained, inputs, 0.2).pre_activation
        assert pre_activation.requires_grad
        assert torch.equal(pre_activation, generator.scale * made[-1][1])
        with torch.no_grad():
            assert not perturb_images(config, generator, trained, inputs, 0.2).images.requires_grad


class TestSampleInputs:
    def test_nothing_is_drawn_where_nothing_is_random(self, images_and_labels):
        stream = rng()
        inputs = sample_inputs(config_of(), *images_and_labels, 0.2, stream)
        assert torch.equal(stream.get_state(), rng().get_state())
        assert inputs.start is inputs.images
        assert inputs.noise.shape == (6, 0)

    def test_several_draws_share_their_start_and_not_their_noise(self, images_and_labels):
        inputs = sample_inputs(config_of(random_start=True, noise=3), *images_and_labels, 0.2, rng(), times=2)
        assert inputs.noise.shape == (12, 3)
        for shared in (inputs.images, inputs.labels, inputs.start):
            assert torch.equal(*shared.chunk(2))
        one, other = inputs.noise.chunk(2)
        assert (one != other).all()


class TestInputs:
    def test_channels_are_image_gradient_and_perturbation_in_bounds(self, trained, images_and_labels):
        config = config_of(image_gradient="sign", see_perturbation=True, random_start=True)
        inputs = sample_inputs(config, *images_and_labels, 0.2, rng())
        current, gradient, perturbation = input_channels(config, trained, inputs.start, inputs, 0.2).chunk(3, dim=1)
        assert torch.equal(current, inputs.start)
        assert torch.equal(gradient, gradient_channel(trained, inputs.start, inputs.labels, "sign"))
        torch.testing.assert_close(inputs.images + 0.2 * perturbation, inputs.start)
        assert 0.9 < perturbation.abs().max() <= 1 + 1e-6

    def test_before_the_bound_grows_the_perturbation_is_zero(self, trained, images_and_labels):
        config = config_of(see_perturbation=True, random_start=True)
        inputs = sample_inputs(config, *images_and_labels, 0.0, rng())
        assert torch.equal(
            input_channels(config, trained, inputs.start, inputs, 0.0)[:, 2:], torch.zeros_like(inputs.images)
        )

    def test_the_image_alone(self, trained, images_and_labels):
        config = config_of(image_gradient="none")
        inputs = sample_inputs(config, *images_and_labels, 0.2, rng())
        assert torch.equal(input_channels(config, trained, inputs.images, inputs, 0.2), inputs.images)

    @pytest.mark.parametrize(("noise", "see_label", "size"), [(0, True, 10), (3, False, 3), (3, True, 13)])
    def test_numbers_are_noise_and_one_hot_label(self, images_and_labels, noise, see_label, size):
        config = config_of(noise=noise, see_label=see_label)
        inputs = sample_inputs(config, *images_and_labels, 0.2, rng())
        (numbers,) = input_vector(config, inputs, 10)
        assert numbers.shape == (6, size)
        assert torch.equal(numbers[:, :noise], inputs.noise)
        if see_label:
            assert torch.equal(numbers[:, noise:].argmax(-1), inputs.labels)
            assert torch.equal(numbers[:, noise:].sum(-1), torch.ones(6))

    @pytest.mark.parametrize("changes", [{"see_label": True}, {"noise": 2}])
    def test_the_numbers_change_the_perturbation(self, trained, images_and_labels, changes):
        config = config_of(**changes)
        inputs = sample_inputs(config, *images_and_labels, 0.2, rng())
        others = inputs._replace(noise=-inputs.noise) if "noise" in changes else inputs
        generator = build_generator(config, MNIST)
        seen = input_channels(config, trained, inputs.images, inputs, 0.2)
        (numbers,), (other,) = input_vector(config, inputs, 10), input_vector(config, others, 10)
        other = other.roll(1, -1) if "see_label" in changes else other
        assert ((generator(seen, numbers) - generator(seen, other)).abs().amax((1, 2, 3)) > 1e-4).all()


class TestGradientChannel:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("leading", [(), (6,), (2, 3)])
    def test_points_where_the_loss_grows(self, trained, images_and_labels, kind, leading):
        count = math.prod(leading)
        images = images_and_labels[0][:count].reshape(*leading, 1, 28, 28)
        labels = images_and_labels[1][:count].reshape(leading)
        gradient = attacks.input_gradient(trained, images, labels, cross_entropy)
        seen = gradient_channel(trained, images, labels, kind)
        assert torch.equal(seen.sign(), gradient.sign())
        towards = attacks.input_gradient(trained, images, torch.full_like(labels, 3), cross_entropy)
        assert torch.equal(gradient_channel(trained, images, labels, kind, target=3).sign(), -towards.sign())

    def test_sizes(self, trained, images_and_labels):
        raw, signs, normalized = (gradient_channel(trained, *images_and_labels, kind) for kind in KINDS)
        assert torch.equal(raw, attacks.input_gradient(trained, *images_and_labels, cross_entropy))
        assert set(signs.unique().tolist()) <= {-1.0, 0.0, 1.0}
        torch.testing.assert_close(normalized.square().mean((-3, -2, -1)).sqrt(), torch.ones(6))

    @pytest.mark.parametrize("margin", [0.0, 30.0, 55.0, 60.0, 80.0, 200.0])
    def test_the_gradient_of_a_confident_classifier_stays_small_numbers(self, images_and_labels, margin):
        images, _ = images_and_labels

        def confident(some):  # sure of label 0 by that margin, and still of some slope
            slope = some.mean((-3, -2, -1)).unsqueeze(-1) * torch.arange(10.0)
            return slope + margin * torch.eye(10)[0]

        channel = gradient_channel(confident, images, torch.zeros(6, dtype=torch.int64), "normalized")
        assert channel.isfinite().all()
        assert channel.abs().max() < 30
