"""Attacks: a table of rows, and properties of all of them beyond what `trainables.testing` asks."""

import pytest
import torch

from tests.trainables.conftest import random_problem, rng_of
from trainables.attacks import gradient as attacks
from trainables.attacks.apgd import apgd, apgd_targeted
from trainables.attacks.losses import cross_entropy, dlr, margin
from trainables.attacks.square import square


def random_pgd(logits_fn, images, labels, epsilon, *, rng, loss=cross_entropy):
    sizes = {"steps": 4, "step_size": 0.5 * epsilon}
    return attacks.pgd(logits_fn, images, labels, epsilon, **sizes, loss=loss, rng=rng)


def margin_pgd(logits_fn, images, labels, epsilon, *, rng):
    return random_pgd(logits_fn, images, labels, epsilon, rng=rng, loss=margin)


def still_pgd(logits_fn, images, labels, epsilon, *, rng):
    return random_pgd(logits_fn, images, labels, epsilon, rng=None)


def fgsm(logits_fn, images, labels, epsilon, *, rng):
    return attacks.fgsm(logits_fn, images, labels, epsilon)


def survivors(logits_fn, images, labels, epsilon, *, rng):
    sizes = {"steps": 4, "step_size": 0.5 * epsilon, "restarts": 2}
    return attacks.pgd_survivors(logits_fn, images, labels, epsilon, **sizes, rng=rng)


def momentum(logits_fn, images, labels, epsilon, *, rng):
    return attacks.mi_fgsm(logits_fn, images, labels, epsilon, steps=4, step_size=0.5 * epsilon)


def auto_pgd(logits_fn, images, labels, epsilon, *, rng, loss=cross_entropy):
    return apgd(logits_fn, images, labels, epsilon, steps=8, loss=loss, restarts=2, rng=rng)


def auto_pgd_dlr(logits_fn, images, labels, epsilon, *, rng):
    return auto_pgd(logits_fn, images, labels, epsilon, rng=rng, loss=dlr)


def squares(logits_fn, images, labels, epsilon, *, rng):
    return square(logits_fn, images, labels, epsilon, queries=40, rng=rng)


def every_target(logits_fn, images, labels, epsilon, *, rng):
    return apgd_targeted(logits_fn, images, labels, epsilon, steps=4, num_targets=3, rng=rng)


ANY_SHAPE = {
    "fgsm": fgsm,
    "r_fgsm": attacks.r_fgsm,
    "pgd": random_pgd,
    "margin_pgd": margin_pgd,
    "still_pgd": still_pgd,
    "mi_fgsm": momentum,
}
ATTACKS = {
    **ANY_SHAPE,
    "survivors": survivors,
    "apgd": auto_pgd,
    "square": squares,
    "apgd_dlr": auto_pgd_dlr,
    "apgd_targeted": every_target,
}
EVERY_ATTACK = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
EVERY_SHAPED_ATTACK = pytest.mark.parametrize("attack", ANY_SHAPE.values(), ids=ANY_SHAPE)


def flat(tensor, leading):
    return tensor.reshape(-1, *tensor.shape[len(leading) :])


@EVERY_ATTACK
class TestEveryAttack:
    def test_a_gradient_that_is_the_same_everywhere_is_left_alone(self, attack):
        def model(inputs):  # its gradient is one number, expanded: nobody may write into it
            return torch.arange(10.0) * inputs.flatten(1).sum(1, keepdim=True)

        _, images, labels = random_problem(18)
        adversarial = attack(model, images, labels, 0.1, rng=rng_of())
        assert (adversarial - images).abs().max() <= 0.1 + 1e-6

    def test_raises_the_loss_of_the_label(self, attack, trained, digits):
        images, labels = digits.test.batch(torch.arange(100))
        adversarial = attack(trained, images, labels, 0.05, rng=rng_of())
        with torch.no_grad():
            before, after = cross_entropy(trained(images), labels), cross_entropy(trained(adversarial), labels)
            is_wrong = trained(adversarial).argmax(-1) != labels
        assert ((after > before) | is_wrong).float().mean() > 0.98
        assert is_wrong.sum() > (trained(images).argmax(-1) != labels).sum() + 5

    def test_an_epsilon_as_tensor_equals_the_number(self, attack):
        model, images, labels = random_problem(5)
        expected = attack(model, images, labels, 0.125, rng=rng_of())
        epsilon = torch.tensor(0.125)
        assert torch.equal(attack(model, images, labels, epsilon, rng=rng_of()), expected)

    def test_an_image_does_not_care_about_the_others(self, attack):
        model, images, labels = random_problem(16)
        _, others, other_labels = random_problem(17)
        model, mixed, mixed_labels = model.double(), torch.cat([images[:3], others[3:]]), labels.clone()
        mixed_labels[3:] = other_labels[3:]
        alone = attack(model, images.double(), labels, 0.1, rng=rng_of())
        among = attack(model, mixed.double(), mixed_labels, 0.1, rng=rng_of())
        torch.testing.assert_close(alone[:3], among[:3])


@EVERY_SHAPED_ATTACK
class TestEveryShape:
    @pytest.mark.parametrize("leading", [(), (1,), (2, 3), (2, 1, 2)])
    def test_leading_dimensions_give_the_same_as_flat(self, attack, leading):
        model, images, labels = random_problem(6, leading)
        adversarial = attack(model, images, labels, 0.1, rng=rng_of())
        assert adversarial.shape == images.shape
        flattened = attack(model, flat(images, leading), labels.reshape(-1), 0.1, rng=rng_of())
        assert torch.equal(flat(adversarial, leading), flattened)

    def test_every_image_can_have_its_own_epsilon(self, attack):
        model, images, labels = random_problem(7)
        epsilon = torch.tensor([0.0, 0.125] * 3).reshape(6, 1, 1, 1)
        adversarial = attack(model, images, labels, epsilon, rng=rng_of())
        assert torch.equal(adversarial[::2], images[::2])
        assert torch.equal(adversarial[1::2], attack(model, images, labels, 0.125, rng=rng_of())[1::2])
