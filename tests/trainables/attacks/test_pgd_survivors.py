"""PGD on survivors: the same search as PGD, kept where it first succeeds."""

import pytest
import torch

from tests.trainables.conftest import random_problem, rng_of
from trainables.attacks import gradient as attacks
from trainables.attacks.losses import LOSSES

SIX_STEPS = {"steps": 6, "step_size": 0.015}


class TestPgdSurvivors:
    @pytest.fixture
    def problem(self, trained, digits):
        return trained, *digits.test.batch(torch.arange(100)), 0.04

    @pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
    def test_finds_at_least_what_the_last_step_finds_with_the_same_draws(self, problem, loss):
        model, images, labels, epsilon = problem
        rngs = rng_of(), rng_of()

        def is_fooled(attack, rng):
            adversarial = attack(model, images, labels, epsilon, **SIX_STEPS, loss=loss, rng=rng)
            return model(adversarial).argmax(-1) != labels

        last_step, any_step = is_fooled(attacks.pgd, rngs[0]), is_fooled(attacks.pgd_survivors, rngs[1])
        assert last_step.any()
        assert not any_step.all()
        assert (any_step | ~last_step).all()
        assert torch.equal(rngs[0].get_state(), rngs[1].get_state())

    def test_is_pgd_where_nothing_is_misclassified(self):
        model, images, _ = random_problem(12)
        labels = model(images).argmax(-1)
        sizes = {"steps": 5, "step_size": 1e-4}
        adversarial = attacks.pgd_survivors(model, images, labels, 3e-4, **sizes, rng=rng_of())
        assert torch.equal(adversarial, attacks.pgd(model, images, labels, 3e-4, **sizes, rng=rng_of()))
        assert torch.equal(model(adversarial).argmax(-1), labels)

    def test_only_survivors_are_attacked_further(self, problem):
        model, images, labels, epsilon = problem
        num_attacked = []

        def counted(inputs):
            num_attacked.append(len(inputs))
            return model(inputs)

        adversarial = attacks.pgd_survivors(counted, images, labels, epsilon, **SIX_STEPS)
        num_correct = int((model(adversarial).argmax(-1) == labels).sum())
        assert num_attacked[0] == 100
        assert num_attacked == sorted(num_attacked, reverse=True)
        assert num_correct <= num_attacked[-1] < 100

    def test_a_wrong_image_is_kept_as_it_is(self, problem):
        model, images, labels, epsilon = problem
        is_wrong = model(images).argmax(-1) != labels
        assert is_wrong.any()
        adversarial = attacks.pgd_survivors(model, images, labels, epsilon, **SIX_STEPS)
        assert torch.equal(adversarial[is_wrong], images[is_wrong])

    def test_restarts_find_at_least_as_much(self):
        def model(inputs):  # says 1 where the corner is bright, which no gradient tells and one start in eight finds
            corner = inputs[:, 0, :1, 0]
            return torch.cat([0 * corner + 0.5, (corner > 0.65).float()], -1)

        images, labels = torch.full((200, 1, 28, 28), 0.5), torch.zeros(200, dtype=torch.int64)

        def is_correct(restarts):
            sizes = {"steps": 1, "step_size": 0.1, "restarts": restarts}
            adversarial = attacks.pgd_survivors(model, images, labels, 0.2, **sizes, rng=rng_of())
            return model(adversarial).argmax(-1) == labels

        one, many = is_correct(1), is_correct(8)
        assert not (many & ~one).any()
        assert 0.8 < one.float().mean() < 0.95
        assert 0.25 < many.float().mean() < 0.45

    def test_restarts_end_when_everything_is_misclassified(self):
        model, images, _ = random_problem(13)
        wrong = (model(images).argmax(-1) + 1) % 10
        adversarial = attacks.pgd_survivors(model, images, wrong, 1e-3, steps=2, step_size=1e-3, restarts=3)
        assert torch.equal(adversarial, images)
