"""What each attack of a fixed number of sign steps is, step by step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.conftest import random_problem, rng_of
from trainables.attacks import gradient as attacks
from trainables.attacks.losses import LOSSES, cross_entropy


class TestInputGradient:
    def test_of_a_linear_net_is_what_the_formula_says(self):
        weights = torch.randn(10, 784, generator=rng_of())
        images, labels = torch.rand(3, 1, 28, 28, generator=rng_of()), torch.tensor([1, 2, 3])

        def logits_fn(inputs):
            return inputs.flatten(-3) @ weights.T

        error = logits_fn(images).softmax(-1) - torch.eye(10)[labels]
        gradient = attacks.input_gradient(logits_fn, images, labels, cross_entropy)
        torch.testing.assert_close(gradient, (error @ weights).reshape(3, 1, 28, 28))


class TestFgsm:
    def test_moves_every_pixel_by_epsilon_up_the_gradient(self):
        model, images, labels = random_problem(8)
        images = images.clamp(0.3, 0.7)
        moved = attacks.fgsm(model, images, labels, 0.25) - images
        gradient = attacks.input_gradient(model, images, labels, cross_entropy)
        torch.testing.assert_close(moved, 0.25 * gradient.sign())


class TestRandomFgsm:
    def test_is_half_a_random_step_and_half_a_gradient_step(self):
        model, images, labels = random_problem(9)
        grey = torch.full_like(images, 0.5)
        sizes = (attacks.r_fgsm(model, grey, labels, 0.2, rng=rng_of()) - grey).abs()
        assert {round(size, 5) for size in sizes.unique().tolist()} <= {0.0, 0.2}
        assert 0.4 < (sizes > 0.1).float().mean() < 0.6  # the two steps agree on about half of the pixels


class TestProject:
    @given(seed=st.integers(0, 2**32), epsilon=st.floats(0, 1), size=st.floats(0, 3))
    @settings(deadline=None, max_examples=30)
    def test_is_the_nearest_point(self, seed, epsilon, size):
        _, images, _ = random_problem(seed)
        point = images + size * torch.randn(images.shape, generator=rng_of(seed))
        projected = attacks.project(point, images, epsilon)
        lowest, highest = (images - epsilon).clamp_min(0), (images + epsilon).clamp_max(1)
        assert ((projected >= lowest - 1e-6) & (projected <= highest + 1e-6)).all()
        is_inside = (point >= lowest) & (point <= highest)
        assert torch.equal(projected[is_inside], point[is_inside])
        assert torch.equal(attacks.project(projected, images, epsilon), projected)


class TestUniformStart:
    def test_fills_the_ball(self):
        grey = torch.full((20, 1, 28, 28), 0.5)
        moved = attacks.uniform_start(grey, 0.2, rng_of()) - grey
        assert -0.2 <= moved.min() < -0.199
        assert 0.199 < moved.max() <= 0.2000001
        assert moved.mean().abs() < 0.005
        assert moved.std() == pytest.approx(0.2 / 3**0.5, rel=0.02)


class TestPgd:
    def test_no_step_is_the_start(self):
        model, images, labels = random_problem(10)
        assert torch.equal(attacks.pgd(model, images, labels, 0.1, steps=0, step_size=0.1), images)
        start = attacks.pgd(model, images, labels, 0.1, steps=0, step_size=0.1, rng=rng_of())
        assert torch.equal(start, attacks.uniform_start(images, 0.1, rng_of()))

    def test_one_full_step_from_the_image_is_fgsm(self):
        model, images, labels = random_problem(11)
        adversarial = attacks.pgd(model, images, labels, 0.1, steps=1, step_size=0.1)
        torch.testing.assert_close(adversarial, attacks.fgsm(model, images, labels, 0.1))

    @pytest.mark.parametrize("loss", LOSSES)
    def test_more_steps_find_more(self, trained, digits, loss):
        images, labels = digits.test.batch(torch.arange(100))

        def num_fooled(steps):
            sizes = {"steps": steps, "step_size": 0.01}
            adversarial = attacks.pgd(trained, images, labels, 0.04, **sizes, loss=LOSSES[loss])
            return int((trained(adversarial).argmax(-1) != labels).sum())

        assert num_fooled(0) < num_fooled(2) < num_fooled(8)


class TestMomentum:
    def test_one_full_step_is_fgsm(self):
        model, images, labels = random_problem(14)
        adversarial = attacks.mi_fgsm(model, images, labels, 0.1, steps=1, step_size=0.1)
        torch.testing.assert_close(adversarial, attacks.fgsm(model, images, labels, 0.1))

    def test_without_memory_it_is_pgd(self):
        model, images, labels = random_problem(15)
        sizes = {"steps": 5, "step_size": 0.03}
        adversarial = attacks.mi_fgsm(model, images, labels, 0.1, **sizes, decay=0.0)
        assert torch.equal(adversarial, attacks.pgd(model, images, labels, 0.1, **sizes))

    def test_the_first_gradient_outweighs_one_that_turns_back(self):
        def model(inputs):  # the loss of label 0 falls where a pixel is above 0.52, three times as steeply as it rose
            hill = torch.where(inputs > 0.52, 0.52 - 3 * (inputs - 0.52), inputs).mean((-3, -2, -1))
            return torch.stack([0 * hill, hill], -1)

        images, labels = torch.full((1, 1, 28, 28), 0.5), torch.tensor([0])
        sizes = {"steps": 2, "step_size": 0.03}
        with_memory = attacks.mi_fgsm(model, images, labels, 0.1, **sizes, decay=1.5)
        torch.testing.assert_close(with_memory, images + 0.06)
        torch.testing.assert_close(attacks.pgd(model, images, labels, 0.1, **sizes), images)

    def test_no_gradient_is_no_step(self):
        images, labels = torch.full((2, 1, 28, 28), 0.5), torch.tensor([0, 1])
        adversarial = attacks.mi_fgsm(
            lambda inputs: 0 * inputs.flatten(1)[:, :10], images, labels, 0.1, steps=3, step_size=0.1
        )
        assert torch.equal(adversarial, images)


def test_a_start_that_is_not_clipped_may_leave_the_box_and_the_result_does_not():
    model, images, labels = random_problem(6)
    free = attacks.uniform_start(images, 0.3, rng_of(1), clipped=False)
    assert torch.equal(free.clamp(0, 1), attacks.uniform_start(images, 0.3, rng_of(1)))
    assert free.min() < 0 < 1 < free.max()
    sizes = {"steps": 1, "step_size": 0.375}
    clipped, unclipped = (
        attacks.pgd(model, images, labels, 0.3, **sizes, rng=rng_of(1), clipped_start=is_clipped)
        for is_clipped in (True, False)
    )
    assert not torch.equal(clipped, unclipped)
    assert 0 <= unclipped.min() <= unclipped.max() <= 1
    assert (unclipped - images).abs().max() <= 0.3 + 1e-6
