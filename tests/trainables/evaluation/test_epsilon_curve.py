"""Accuracy by epsilon: toy nets whose curve is known, and what must hold for any net."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.evaluation.test_accuracy import Brightness, Constant, grey_images
from trainables.attacks.gradient import fgsm, pgd
from trainables.evaluation.epsilon_curve import accuracy_by_epsilon, measure_fgsm
from trainables.evaluation.measured import as_called

EPSILONS = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)


def test_an_image_falls_where_the_border_comes_within_reach():
    # 0.1, 0.3 and 0 from the border of 0.5; the last is wrong without an attack.
    split = grey_images(102, 51, 204, 255)
    split.labels[-1] = 0
    curve = accuracy_by_epsilon(Brightness(), split, (0.0, 0.05, 0.15, 0.25, 0.35, 0.6), 10, seed=0)
    assert curve == {0.0: 0.75, 0.05: 0.75, 0.15: 0.5, 0.25: 0.5, 0.35: 0.0}


def test_what_no_attack_can_change_never_falls(digits):
    share = (digits.validation.labels == 3).double().mean().item()
    assert accuracy_by_epsilon(Constant(), digits.validation, (0.0, 0.5, 1.0), 2, seed=0) == dict.fromkeys(
        (0.0, 0.5, 1.0), share
    )


def test_nothing_right_is_nothing_to_attack():
    split = grey_images(0, 255)
    split.labels.copy_(1 - split.labels)
    assert accuracy_by_epsilon(Brightness(), split, (0.1, 0.2), 3, seed=0) == {0.1: 0.0}


@pytest.fixture(scope="module")
def curve(trained, digits):
    return accuracy_by_epsilon(trained, digits.validation, EPSILONS, 10, seed=3)


def test_a_trained_net_falls_from_clean_accuracy_to_nothing_and_ends_there(curve, trained, digits):
    images, labels = digits.validation.batch(torch.arange(200))
    clean = (trained(images).argmax(-1) == labels).double().mean().item()
    assert curve[0.0] == clean > 0.8
    assert list(curve.values()) == sorted(curve.values(), reverse=True)
    assert list(curve.values()).count(0.0) == 1
    assert list(curve) == list(EPSILONS[: len(curve)])


@settings(max_examples=5, deadline=None)
@given(epsilon=st.sampled_from(EPSILONS[:5]))
def test_every_epsilon_is_attacked_on_its_own(curve, trained, digits, epsilon):
    assert accuracy_by_epsilon(trained, digits.validation, (epsilon,), 10, seed=3) == {epsilon: curve[epsilon]}


def test_follows_from_its_arguments_alone(curve, trained, digits):
    state = torch.random.get_rng_state()
    assert accuracy_by_epsilon(trained, digits.validation, EPSILONS, 10, seed=3) == curve
    assert torch.equal(torch.random.get_rng_state(), state)


def test_threads_find_the_same_and_leave_the_model_to_itself(curve, trained, digits):
    class Remembering(Brightness):
        def forward(self, images):
            self.last = images
            return super().forward(self.last)

    assert accuracy_by_epsilon(trained, digits.validation, EPSILONS, 10, seed=3, workers=3) == curve
    model, split = Remembering(), grey_images(*range(0, 256, 5))
    one = accuracy_by_epsilon(model, split, EPSILONS, 10, seed=0)
    del model.last
    assert accuracy_by_epsilon(model, split, EPSILONS, 10, seed=0, workers=3) == one
    assert len(model.last) == len(split)  # without an attack alone
    model.last = torch.ones(1, requires_grad=True) * 2  # torch copies no tensor with a history
    assert accuracy_by_epsilon(model, split, EPSILONS, 10, seed=0, workers=3) == one


def test_threads_end_at_once_when_one_fails():
    calls = []

    class Failing(Brightness):
        def forward(self, images):
            calls.append(len(images))
            if images.max() > 0.9:
                raise ValueError("too bright")
            return super().forward(images)

    with pytest.raises(ValueError, match="too bright"):
        accuracy_by_epsilon(Failing(), grey_images(*[128] * 40), (0.5, 0.001), 100_000, seed=0, workers=2)
    assert len(calls) < 10_000


def test_finds_what_pgd_without_a_random_start_finds_but_for_noise(curve, trained, digits):
    images, labels = digits.validation.batch(torch.arange(200))
    for epsilon in (0.02, 0.04):
        moved = pgd(trained, images, labels, epsilon, steps=10, step_size=0.25 * epsilon)
        assert abs((trained(moved).argmax(-1) == labels).double().mean().item() - curve[epsilon]) <= 0.01


@pytest.mark.parametrize("is_training", [True, False])
def test_the_model_is_judged_in_evaluation_mode_and_left_as_it_was(is_training):
    modes = []

    class Watching(Brightness):
        def forward(self, images):
            modes.append(self.training)
            return super().forward(images)

    model = Watching().train(is_training)
    accuracy_by_epsilon(model, grey_images(0, 255), (0.0, 0.1), 2, seed=0)
    assert set(modes) == {False}
    assert model.training is is_training


def test_fgsm_is_measured_at_each_radius(trained, digits):
    images, labels = digits.validation.batch(torch.arange(len(digits.validation)))
    found = measure_fgsm(trained, digits.validation, (0.02, 0.3), as_called(torch.device("cpu"))).read()
    assert found == {
        f"watch/fgsm_at_{radius:g}": (trained(fgsm(trained, images, labels, radius)).argmax(-1) == labels)
        .double()
        .mean()
        .item()
        for radius in (0.02, 0.3)
    }
    assert found["watch/fgsm_at_0.02"] > found["watch/fgsm_at_0.3"]
