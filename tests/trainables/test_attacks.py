"""Attacks: a table of rows, properties that hold for all of them, and FGSM against a second implementation."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trainables import attacks
from trainables.attacks import LOSSES, cross_entropy, margin
from trainables.models import LeadingDimensions


def random_pgd(logits_fn, images, labels, epsilon, *, rng, targets=None, loss=cross_entropy):
    sizes = {"steps": 4, "step_size": 0.5 * epsilon}
    return attacks.pgd(logits_fn, images, labels, epsilon, **sizes, loss=loss, rng=rng, targets=targets)


def margin_pgd(logits_fn, images, labels, epsilon, *, rng, targets=None):
    return random_pgd(logits_fn, images, labels, epsilon, rng=rng, targets=targets, loss=margin)


def still_pgd(logits_fn, images, labels, epsilon, *, rng, targets=None):
    return random_pgd(logits_fn, images, labels, epsilon, rng=None, targets=targets)


def fgsm(logits_fn, images, labels, epsilon, *, rng, targets=None):
    return attacks.fgsm(logits_fn, images, labels, epsilon, targets=targets)


def survivors(logits_fn, images, labels, epsilon, *, rng, targets=None):
    sizes = {"steps": 4, "step_size": 0.5 * epsilon, "restarts": 2}
    return attacks.pgd_survivors(logits_fn, images, labels, epsilon, **sizes, rng=rng, targets=targets)


ANY_SHAPE = {
    "fgsm": fgsm,
    "r_fgsm": attacks.r_fgsm,
    "pgd": random_pgd,
    "margin_pgd": margin_pgd,
    "still_pgd": still_pgd,
}
ATTACKS = {**ANY_SHAPE, "survivors": survivors}
EVERY_ATTACK = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
EVERY_SHAPED_ATTACK = pytest.mark.parametrize("attack", ANY_SHAPE.values(), ids=ANY_SHAPE)


SIX_STEPS = {"steps": 6, "step_size": 0.015}


def rng_of(seed=0):
    return torch.Generator().manual_seed(seed)


def random_problem(seed, leading=(6,)):
    """Return a random small net, images that touch both ends of the box, labels and targets."""
    rng = rng_of(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 12), nn.Tanh(), nn.Linear(12, 10))
    images = (1.4 * torch.rand(*leading, 1, 28, 28, generator=rng) - 0.2).clamp(0, 1)
    labels, targets = (torch.randint(10, leading, generator=rng) for _ in range(2))
    return LeadingDimensions(net), images, labels, targets


def flat(tensor, leading):
    return tensor.reshape(-1, *tensor.shape[len(leading) :])


@EVERY_ATTACK
class TestEveryAttack:
    @given(seed=st.integers(0, 2**32), epsilon=st.floats(1e-4, 1), is_targeted=st.booleans())
    @settings(deadline=None, max_examples=20)
    def test_stays_in_the_ball_and_the_box(self, attack, seed, epsilon, is_targeted):
        model, images, labels, targets = random_problem(seed)
        kept, kept_labels = images.clone(), labels.clone()
        found = attack(model, images, labels, epsilon, rng=rng_of(seed), targets=targets if is_targeted else None)
        assert (found.shape, found.dtype) == (images.shape, torch.float32)
        assert (found - images).abs().max() <= epsilon + 1e-6
        assert 0 <= found.min() <= found.max() <= 1
        assert torch.equal(images, kept)
        assert torch.equal(labels, kept_labels)

    @pytest.mark.parametrize("is_training", [True, False])
    def test_leaves_the_model_as_it_was(self, attack, is_training):
        model, images, labels, _ = random_problem(1)
        model.train(is_training)
        frozen, with_gradient, *_ = model.parameters()
        frozen.requires_grad_(False)
        with_gradient.grad = torch.ones_like(with_gradient)
        before = [(parameter.detach().clone(), parameter.requires_grad) for parameter in model.parameters()]
        found = attack(model, images, labels, 0.1, rng=rng_of())
        assert model.training is is_training
        assert not found.requires_grad
        assert not images.requires_grad
        for parameter, (value, requires_grad) in zip(model.parameters(), before, strict=True):
            assert torch.equal(parameter, value)
            assert parameter.requires_grad is requires_grad
        assert torch.equal(with_gradient.grad, torch.ones_like(with_gradient))
        assert all(parameter.grad is None for parameter in model.parameters() if parameter is not with_gradient)

    def test_follows_from_the_seed_alone(self, attack):
        model, images, labels, _ = random_problem(2)
        state = torch.random.get_rng_state()
        first = attack(model, images, labels, 0.1, rng=rng_of(5))
        assert torch.equal(torch.random.get_rng_state(), state)
        torch.rand(3)
        assert torch.equal(attack(model, images, labels, 0.1, rng=rng_of(5)), first)

    def test_works_where_gradients_are_off(self, attack):
        model, images, labels, _ = random_problem(3)
        expected = attack(model, images, labels, 0.1, rng=rng_of())
        with torch.no_grad():
            assert torch.equal(attack(model, images, labels, 0.1, rng=rng_of()), expected)

    def test_leaves_images_of_the_target_label_alone(self, attack):
        model, images, labels, targets = random_problem(4)
        targets[:3] = labels[:3]
        targets[3:] = (labels[3:] + 1) % 10
        found = attack(model, images, labels, 0.1, rng=rng_of(), targets=targets)
        assert torch.equal(found[:3], images[:3])
        assert (found[3:] != images[3:]).flatten(1).any(1).all()

    def test_all_images_of_the_target_label_are_no_work(self, attack):
        model, images, labels, _ = random_problem(4)
        assert torch.equal(attack(model, images, labels, 0.1, rng=rng_of(), targets=labels), images)

    def test_raises_the_loss_of_the_label(self, attack, trained, digits):
        images, labels = digits.test.batch(torch.arange(100))
        found = attack(trained, images, labels, 0.05, rng=rng_of())
        with torch.no_grad():
            before, after = cross_entropy(trained(images), labels), cross_entropy(trained(found), labels)
            is_wrong = trained(found).argmax(-1) != labels
        assert ((after > before) | is_wrong).float().mean() > 0.98
        assert is_wrong.sum() > (trained(images).argmax(-1) != labels).sum() + 5

    def test_lowers_the_loss_of_the_target(self, attack, trained, digits):
        images, labels = digits.test.batch(torch.arange(100))
        targets = (labels + 3) % 10
        found = attack(trained, images, labels, 0.05, rng=rng_of(), targets=targets)
        with torch.no_grad():
            before, after = cross_entropy(trained(images), targets), cross_entropy(trained(found), targets)
        assert (after < before).float().mean() > 0.98

    def test_an_epsilon_as_tensor_equals_the_number(self, attack):
        model, images, labels, _ = random_problem(5)
        expected = attack(model, images, labels, 0.125, rng=rng_of())
        epsilon = torch.tensor(0.125)
        assert torch.equal(attack(model, images, labels, epsilon, rng=rng_of()), expected)


@EVERY_SHAPED_ATTACK
class TestEveryShape:
    @pytest.mark.parametrize("leading", [(), (1,), (2, 3), (2, 1, 2)])
    @pytest.mark.parametrize("is_targeted", [True, False])
    def test_leading_dimensions_give_the_same_as_flat(self, attack, leading, is_targeted):
        model, images, labels, targets = random_problem(6, leading)
        targets = targets if is_targeted else None
        found = attack(model, images, labels, 0.1, rng=rng_of(), targets=targets)
        assert found.shape == images.shape
        flat_targets = targets.reshape(-1) if is_targeted else None
        flattened = attack(model, flat(images, leading), labels.reshape(-1), 0.1, rng=rng_of(), targets=flat_targets)
        assert torch.equal(flat(found, leading), flattened)

    def test_every_image_can_have_its_own_epsilon(self, attack):
        model, images, labels, _ = random_problem(7)
        epsilon = torch.tensor([0.0, 0.125] * 3).reshape(6, 1, 1, 1)
        found = attack(model, images, labels, epsilon, rng=rng_of())
        assert torch.equal(found[::2], images[::2])
        assert torch.equal(found[1::2], attack(model, images, labels, 0.125, rng=rng_of())[1::2])


class TestFgsm:
    @pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.25, 0.3])
    def test_equals_foolbox(self, trained, digits, epsilon):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports from a namespace that scipy gives up
            import foolbox
        images, labels = digits.train.batch(torch.arange(1000))
        model = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
        _, expected, is_fooled = foolbox.attacks.LinfFastGradientAttack()(model, images, labels, epsilons=epsilon)
        found = attacks.fgsm(trained, images, labels, epsilon)
        assert torch.equal(found, expected)
        assert torch.equal(trained(found).argmax(-1) != labels, is_fooled)
        assert is_fooled.any()

    def test_moves_every_pixel_by_epsilon_up_the_gradient(self):
        model, images, labels, _ = random_problem(8)
        images = images.clamp(0.3, 0.7)
        moved = attacks.fgsm(model, images, labels, 0.25) - images
        gradient = attacks.input_gradient(model, images, labels, cross_entropy)
        torch.testing.assert_close(moved, 0.25 * gradient.sign())


class TestRandomFgsm:
    def test_is_half_a_random_step_and_half_a_gradient_step(self):
        model, images, labels, _ = random_problem(9)
        grey = torch.full_like(images, 0.5)
        sizes = (attacks.r_fgsm(model, grey, labels, 0.2, rng=rng_of()) - grey).abs()
        assert {round(size, 5) for size in sizes.unique().tolist()} <= {0.0, 0.2}
        assert 0.4 < (sizes > 0.1).float().mean() < 0.6  # the two steps agree on about half of the pixels


class TestProject:
    @given(seed=st.integers(0, 2**32), epsilon=st.floats(0, 1), size=st.floats(0, 3))
    @settings(deadline=None, max_examples=30)
    def test_is_the_nearest_point(self, seed, epsilon, size):
        _, images, _, _ = random_problem(seed)
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
        model, images, labels, _ = random_problem(10)
        assert torch.equal(attacks.pgd(model, images, labels, 0.1, steps=0, step_size=0.1), images)
        start = attacks.pgd(model, images, labels, 0.1, steps=0, step_size=0.1, rng=rng_of())
        assert torch.equal(start, attacks.uniform_start(images, 0.1, rng_of()))

    def test_one_full_step_from_the_image_is_fgsm(self):
        model, images, labels, _ = random_problem(11)
        found = attacks.pgd(model, images, labels, 0.1, steps=1, step_size=0.1)
        torch.testing.assert_close(found, attacks.fgsm(model, images, labels, 0.1))

    @pytest.mark.parametrize("loss", LOSSES)
    def test_more_steps_find_more(self, trained, digits, loss):
        images, labels = digits.test.batch(torch.arange(100))

        def num_fooled(steps):
            sizes = {"steps": steps, "step_size": 0.01}
            found = attacks.pgd(trained, images, labels, 0.04, **sizes, loss=LOSSES[loss])
            return int((trained(found).argmax(-1) != labels).sum())

        assert num_fooled(0) < num_fooled(2) < num_fooled(8)


class TestPgdSurvivors:
    @pytest.fixture
    def problem(self, trained, digits):
        return trained, *digits.test.batch(torch.arange(100)), 0.04

    @pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
    @pytest.mark.parametrize("is_targeted", [True, False])
    def test_finds_at_least_what_the_last_step_finds_with_the_same_draws(self, problem, loss, is_targeted):
        model, images, labels, epsilon = problem
        targets = (labels + 1) % 10 if is_targeted else None
        rngs = rng_of(), rng_of()

        def is_fooled(attack, rng):
            found = attack(model, images, labels, epsilon, **SIX_STEPS, loss=loss, rng=rng, targets=targets)
            guess = model(found).argmax(-1)
            return guess == targets if is_targeted else guess != labels

        last_step, any_step = is_fooled(attacks.pgd, rngs[0]), is_fooled(attacks.pgd_survivors, rngs[1])
        assert last_step.any()
        assert not any_step.all()
        assert (any_step | ~last_step).all()
        assert torch.equal(rngs[0].get_state(), rngs[1].get_state())

    def test_is_pgd_where_nothing_falls(self):
        model, images, _, _ = random_problem(12)
        labels = model(images).argmax(-1)
        sizes = {"steps": 5, "step_size": 1e-4}
        found = attacks.pgd_survivors(model, images, labels, 3e-4, **sizes, rng=rng_of())
        assert torch.equal(found, attacks.pgd(model, images, labels, 3e-4, **sizes, rng=rng_of()))
        assert torch.equal(model(found).argmax(-1), labels)

    def test_only_survivors_are_attacked_further(self, problem):
        model, images, labels, epsilon = problem
        num_attacked = []

        def counted(some):
            num_attacked.append(len(some))
            return model(some)

        found = attacks.pgd_survivors(counted, images, labels, epsilon, **SIX_STEPS)
        num_standing = int((model(found).argmax(-1) == labels).sum())
        assert num_attacked[0] == 100
        assert num_attacked == sorted(num_attacked, reverse=True)
        assert num_standing <= num_attacked[-1] < 100

    def test_a_wrong_image_is_kept_as_it_is(self, problem):
        model, images, labels, epsilon = problem
        is_wrong = model(images).argmax(-1) != labels
        assert is_wrong.any()
        found = attacks.pgd_survivors(model, images, labels, epsilon, **SIX_STEPS)
        assert torch.equal(found[is_wrong], images[is_wrong])

    def test_restarts_find_at_least_as_much(self):
        def model(some):  # says 1 where the corner is bright, which no gradient tells and one start in eight finds
            corner = some[:, 0, :1, 0]
            return torch.cat([0 * corner + 0.5, (corner > 0.65).float()], -1)

        images, labels = torch.full((200, 1, 28, 28), 0.5), torch.zeros(200, dtype=torch.int64)

        def is_standing(restarts):
            sizes = {"steps": 1, "step_size": 0.1, "restarts": restarts}
            found = attacks.pgd_survivors(model, images, labels, 0.2, **sizes, rng=rng_of())
            return model(found).argmax(-1) == labels

        one, many = is_standing(1), is_standing(8)
        assert not (many & ~one).any()
        assert 0.8 < one.float().mean() < 0.95
        assert 0.25 < many.float().mean() < 0.45

    def test_restarts_end_well_when_everything_has_fallen(self):
        model, images, _, _ = random_problem(13)
        wrong = (model(images).argmax(-1) + 1) % 10
        found = attacks.pgd_survivors(model, images, wrong, 1e-3, steps=2, step_size=1e-3, restarts=3)
        assert torch.equal(found, images)


class TestLosses:
    @given(st.lists(st.floats(-50, 50, width=32), min_size=10, max_size=10, unique=True), st.integers(0, 9))
    def test_the_margin_is_above_zero_where_the_label_has_lost(self, logits, label):
        value = margin(torch.tensor(logits), torch.tensor(label))
        others = [logit for index, logit in enumerate(logits) if index != label]
        assert value == pytest.approx(max(others) - logits[label], abs=1e-4)
        assert (value > 0) == (torch.tensor(logits).argmax() != label)

    @pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
    @pytest.mark.parametrize("shift", [-100.0, 100.0])
    def test_a_shift_of_all_logits_changes_nothing(self, loss, shift):
        logits, labels = torch.randn(4, 10, generator=rng_of()), torch.tensor([0, 3, 9, 3])
        torch.testing.assert_close(loss(logits + shift, labels), loss(logits, labels), rtol=0, atol=1e-4)

    @pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
    @pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
    def test_one_number_per_example_whatever_the_shape(self, loss, leading):
        logits, labels = torch.randn(*leading, 10, generator=rng_of()), torch.randint(10, leading, generator=rng_of())
        losses = loss(logits, labels)
        assert losses.shape == leading
        assert torch.equal(losses.reshape(-1), loss(logits.reshape(-1, 10), labels.reshape(-1)))

    def test_cross_entropy_is_minus_log_p(self):
        logits, labels = torch.randn(4, 10, generator=rng_of()), torch.tensor([0, 3, 9, 3])
        expected = -logits.softmax(-1)[torch.arange(4), labels].log()
        torch.testing.assert_close(cross_entropy(logits, labels), expected)


class TestInputGradient:
    def test_of_a_linear_net_is_what_the_formula_says(self):
        weights = torch.randn(10, 784, generator=rng_of())
        images, labels = torch.rand(3, 1, 28, 28, generator=rng_of()), torch.tensor([1, 2, 3])

        def logits_fn(some):
            return some.flatten(-3) @ weights.T

        error = logits_fn(images).softmax(-1) - torch.eye(10)[labels]
        gradient = attacks.input_gradient(logits_fn, images, labels, cross_entropy)
        torch.testing.assert_close(gradient, (error @ weights).reshape(3, 1, 28, 28))


def test_a_start_that_is_not_clipped_may_leave_the_box_and_the_result_does_not():
    model, images, labels, _ = random_problem(6)
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
