"""Our attacks against those of foolbox and pyautoattack, on the same nets and images."""

import warnings

import pytest
import torch

from tests.trainables.conftest import rng_of
from trainables.attacks import gradient as attacks
from trainables.attacks import losses
from trainables.attacks.apgd import apgd
from trainables.attacks.square import square
from trainables.training import registry

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # foolbox imports from a namespace that scipy gives up
    import foolbox
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack

EPSILON = 0.3
NUM_IMAGES = 1000


@pytest.fixture(scope="session")
def robust(mnist, config_of):
    """A small convolutional net that was trained for a quarter of a minute and withstands half of what follows."""
    sections = {
        "dataset": {"name": "mnist", "validation": 5000},
        "evaluation": {"epsilon": EPSILON, "rank_images": 1},
        "classifier": {"architecture": "small_cnn", "learning_rate": 5e-3, "schedule": "cyclic"},
        "attack": {"warmup": 0.6},
        "batch_size": 128,
    }
    loop = registry.build(config_of("fgsm_random_start", **sections, compute=2.5, report_every=2.5, seed=0), mnist)
    loop.step()
    return loop.classifier.eval()


@pytest.fixture(scope="session")
def problem(robust, mnist):
    return robust, *mnist.test.batch(torch.arange(NUM_IMAGES))


def accuracy(model, images, labels):
    with torch.no_grad():
        return 100 * (model(images).argmax(-1) == labels).double().mean().item()


def by_foolbox(attack, model, images, labels, epsilon=EPSILON):
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, adversarial, is_fooled = attack(wrapped, images, labels, epsilons=epsilon)
    return adversarial, is_fooled


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.25, 0.3])
def test_fgsm_equals_foolbox(trained, digits, epsilon):
    images, labels = digits.train.batch(torch.arange(1000))
    expected, is_fooled = by_foolbox(foolbox.attacks.LinfFastGradientAttack(), trained, images, labels, epsilon)
    adversarial = attacks.fgsm(trained, images, labels, epsilon)
    assert torch.equal(adversarial, expected)
    assert torch.equal(trained(adversarial).argmax(-1) != labels, is_fooled)
    assert is_fooled.any()


def test_the_ratio_losses_equal_pyautoattack():
    logits, labels = 5 * torch.randn(200, 10, generator=rng_of()), torch.arange(200) % 10
    targets = (labels + 3) % 10
    theirs = APGDAttack_targeted(None, eps=EPSILON)
    theirs.y_target = targets
    torch.testing.assert_close(losses.dlr(logits, labels), theirs.dlr_loss(logits, labels))
    torch.testing.assert_close(losses.targeted_dlr(logits, labels, targets), theirs.dlr_loss_targeted(logits, labels))


@pytest.mark.mnist
class TestOnMnist:
    def test_the_net_is_worth_attacking(self, problem):
        model, images, labels = problem
        assert accuracy(model, images, labels) > 96
        assert (
            30 < accuracy(model, attacks.pgd(model, images, labels, EPSILON, steps=20, step_size=0.0375), labels) < 95
        )

    def test_fgsm_equals_foolbox(self, problem):
        expected, _ = by_foolbox(foolbox.attacks.LinfFastGradientAttack(), *problem)
        assert torch.equal(attacks.fgsm(*problem, EPSILON), expected)

    @pytest.mark.parametrize("random_start", [False, True])
    def test_pgd_is_as_strong_as_foolbox(self, problem, random_start):
        sizes = {"steps": 20, "random_start": random_start}
        torch.manual_seed(0)
        theirs, _ = by_foolbox(foolbox.attacks.LinfPGD(abs_stepsize=0.0375, **sizes), *problem)
        rng = rng_of() if random_start else None
        adversarial = attacks.pgd(*problem, EPSILON, steps=20, step_size=0.0375, rng=rng)
        model, _, labels = problem
        assert accuracy(model, adversarial, labels) == pytest.approx(accuracy(model, theirs, labels), abs=1)

    def test_apgd_is_as_strong_as_pyautoattack(self, problem):
        model, images, labels = problem
        theirs = APGDAttack(model, n_iter=100, eps=EPSILON, seed=0, device="cpu").perturb(images, labels)
        adversarial = apgd(*problem, EPSILON, steps=100, rng=rng_of())
        assert accuracy(model, adversarial, labels) == pytest.approx(accuracy(model, theirs, labels), abs=1)

    def test_square_is_at_least_as_strong_as_pyautoattack(self, problem):
        # Theirs draws one square for the whole batch, never over the last row or column: other seeds, other points.
        model, images, labels = (problem[0], *(tensor[:500] for tensor in problem[1:]))
        theirs = SquareAttack(model, n_queries=1000, eps=EPSILON, seed=0, device="cpu").perturb(images, labels)
        adversarial = square(model, images, labels, EPSILON, queries=1000, rng=rng_of())
        assert accuracy(model, adversarial, labels) <= accuracy(model, theirs, labels) + 1
