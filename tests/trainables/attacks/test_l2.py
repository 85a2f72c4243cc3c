"""Attacks in the L2 ball: where they end, and how strong they are beside those of foolbox and pyautoattack."""

from __future__ import annotations

import warnings
from statistics import mean

import pytest
import torch

from tests.support.cifar import SAMPLE, needs_sample
from tests.trainables.conftest import rng_of
from trainables.attacks import gradient as attacks
from trainables.attacks.apgd import apgd, apgd_targeted
from trainables.attacks.combined import apgd_square
from trainables.attacks.norms import largest_distance, length, random_in_ball, unit
from trainables.attacks.square_l2 import square_l2
from trainables.config import DatasetConfig, parse
from trainables.data import pack
from trainables.data.tensors import load_dataset
from trainables.training import registry

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # foolbox imports from a namespace that scipy gives up
    import foolbox
from pyautoattack.autopgd_base import APGDAttack
from pyautoattack.square import SquareAttack

EPSILON = 1.0
NUM_IMAGES = 400

ATTACKS = {
    "fgsm": attacks.fgsm,
    "r_fgsm": lambda *problem, norm: attacks.r_fgsm(*problem, rng=rng_of(), norm=norm),
    "pgd": lambda *problem, norm: attacks.pgd(*problem, steps=5, step_size=0.5, rng=rng_of(), norm=norm),
    "pgd_survivors": lambda *problem, norm: attacks.pgd_survivors(*problem, steps=5, rng=rng_of(), norm=norm),
    "mi_fgsm": lambda *problem, norm: attacks.mi_fgsm(*problem, steps=5, norm=norm),
    "apgd": lambda *problem, norm: apgd(*problem, steps=6, rng=rng_of(), norm=norm),
    "apgd_targeted": lambda *problem, norm: apgd_targeted(*problem, steps=4, num_targets=2, rng=rng_of(), norm=norm),
    "square": lambda *problem, norm: square_l2(*problem, queries=20, rng=rng_of()),
    "apgd_square": lambda *problem, norm: apgd_square(
        *problem, steps=4, queries=10, nearest=20, targets=1, rng=rng_of(), norm=norm
    ),
}


@pytest.fixture(scope="module")
def problem(trained, digits):
    return trained, *digits.train.batch(torch.arange(NUM_IMAGES))


def accuracy(model, images, labels):
    with torch.no_grad():
        return 100 * (model(images).argmax(-1) == labels).double().mean().item()


def by_foolbox(attack, model, images, labels, epsilon=EPSILON):
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(wrapped, images, labels, epsilons=epsilon)[1]


@pytest.mark.parametrize("name", ATTACKS)
class TestEveryAttack:
    def test_ends_in_the_ball_and_in_the_box_and_fools_the_net(self, name, problem):
        model, images, labels = problem
        adversarial = ATTACKS[name](*problem, EPSILON, norm="l2")
        assert adversarial.shape == images.shape
        assert length(adversarial - images).max() <= EPSILON * (1 + 1e-5)
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1
        assert accuracy(model, adversarial, labels) < accuracy(model, images, labels)

    def test_a_radius_of_almost_nothing_changes_almost_nothing(self, name, problem):
        model, images, labels = (problem[0], *(tensor[:50] for tensor in problem[1:]))
        adversarial = ATTACKS[name](model, images, labels, 1e-6, norm="l2")
        assert length(adversarial - images).max() <= 1e-5

    def test_a_batch_of_one_and_of_none(self, name, problem):
        model, images, labels = problem
        for number in (1, 0):
            if name == "apgd_square" and not number:
                continue  # a batch is never empty there
            adversarial = ATTACKS[name](model, images[:number], labels[:number], EPSILON, norm="l2")
            assert adversarial.shape == images[:number].shape


class TestParts:
    def test_a_unit_has_length_one_however_small_and_zero_stays(self):
        values = torch.rand(4, 3, 5, 7) * torch.tensor([1.0, 1e-30, 1e30, 0.0]).view(4, 1, 1, 1)
        torch.testing.assert_close(length(unit(values)).flatten(), torch.tensor([1.0, 1.0, 1.0, 0.0]))

    def test_random_points_fill_the_ball(self):
        images = torch.zeros(4000, 1, 1, 3)
        distances = length(random_in_ball(images, 2.0, rng_of())).flatten()
        assert distances.max() <= 2.0 + 1e-5
        assert (distances < 1.0).double().mean() == pytest.approx(1 / 8, abs=0.02)

    def test_half_of_the_box_is_the_way_to_grey(self):
        assert largest_distance((1, 28, 28), "l2") == 14
        assert largest_distance((3, 32, 32), "linf") == 0.5

    def test_pgd_that_keeps_all_images_finds_the_same(self, problem):
        kept, dropped = (
            attacks.pgd_survivors(*problem, EPSILON, steps=6, rng=rng_of(), drops=drops, norm="l2")
            for drops in (False, True)
        )
        torch.testing.assert_close(kept, dropped)


class TestBesideOthers:
    def test_a_single_step_equals_foolbox(self, problem):
        expected = by_foolbox(foolbox.attacks.L2FastGradientAttack(), *problem)
        torch.testing.assert_close(attacks.fgsm(*problem, EPSILON, norm="l2"), expected, atol=2e-6, rtol=0)

    @pytest.mark.parametrize("random_start", [False, True])
    def test_pgd_is_as_strong_as_foolbox(self, problem, random_start):
        model, _, labels = problem
        torch.manual_seed(0)
        attack = foolbox.attacks.L2PGD(abs_stepsize=0.125, steps=20, random_start=random_start)
        theirs = by_foolbox(attack, *problem)
        rng = rng_of() if random_start else None
        ours = attacks.pgd(*problem, EPSILON, steps=20, step_size=0.125, rng=rng, norm="l2")
        assert accuracy(model, ours, labels) == pytest.approx(accuracy(model, theirs, labels), abs=1)

    def test_apgd_is_as_strong_as_pyautoattack(self, problem):
        model, images, labels = problem
        theirs = APGDAttack(model, n_iter=50, norm="L2", eps=EPSILON, seed=0, device="cpu").perturb(images, labels)
        ours = apgd(*problem, EPSILON, steps=50, rng=rng_of(), norm="l2")
        assert accuracy(model, ours, labels) == pytest.approx(accuracy(model, theirs, labels), abs=1)

    def test_square_is_about_as_strong_as_pyautoattack(self, problem):
        # At a radius at which it leaves some images: their windows and signs are other ones. Over six seeds
        # ours left 83.1 % of them, theirs 82.9.
        model, images, labels = (problem[0], *(tensor[:200] for tensor in problem[1:]))
        ours, theirs = [], []
        for seed in range(3):
            attack = SquareAttack(model, norm="L2", n_queries=300, eps=1.5, seed=seed, device="cpu")
            theirs.append(accuracy(model, attack.perturb(images, labels), labels))
            rng = torch.Generator().manual_seed(seed)
            ours.append(accuracy(model, square_l2(model, images, labels, 1.5, queries=300, rng=rng, p=0.8), labels))
        assert mean(ours) <= mean(theirs) + 2
        assert mean(ours) < accuracy(model, images, labels) - 5


@pytest.fixture(scope="module", params=["small_cnn", "preact_resnet18"])
def colour(request, tmp_path_factory):
    """A net that was trained on the sample of CIFAR-10 for some seconds, in evaluation mode, and test images."""
    width = {"width": 4} if request.param == "preact_resnet18" else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_CACHE", str(tmp_path_factory.mktemp("cache")))
        config = DatasetConfig(name="cifar10", content=pack.import_images("cifar10", SAMPLE))
        dataset = load_dataset(config)
    settings = {
        "trainable": "fgsm_retraining",
        "dataset": config.model_dump(),
        "evaluation": {"epsilon": 8 / 255, "rank_images": 1, "watch_images": 1},
        "classifier": {"architecture": request.param, **width},
        "compute": 4.0 if width else 8.0,
        "report_every": 8.0,
        "batch_size": 64,
    }
    loop = registry.build(parse(settings), dataset)
    loop.step()
    return loop.classifier.eval(), *dataset.test.batch(torch.arange(300 if width else 500))


@needs_sample
class TestOnColourImages:
    def test_the_net_is_worth_attacking(self, colour):
        assert accuracy(*colour) > 25
        ours = attacks.pgd_survivors(*colour, 8 / 255, steps=10)
        assert 8 < accuracy(colour[0], ours, colour[2]) < accuracy(*colour) - 5

    def test_fgsm_equals_foolbox_bit_for_bit(self, colour):
        expected = by_foolbox(foolbox.attacks.LinfFastGradientAttack(), *colour, epsilon=8 / 255)
        assert torch.equal(attacks.fgsm(*colour, 8 / 255), expected)

    @pytest.mark.parametrize(("norm", "epsilon"), [("linf", 8 / 255), ("l2", 0.5)])
    def test_pgd_is_as_strong_as_foolbox(self, colour, norm, epsilon):
        kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
        theirs = by_foolbox(kind(abs_stepsize=epsilon / 4, steps=10, random_start=False), *colour, epsilon=epsilon)
        ours = attacks.pgd(*colour, epsilon, steps=10, step_size=epsilon / 4, norm=norm)
        model, _, labels = colour
        assert accuracy(model, ours, labels) == pytest.approx(accuracy(model, theirs, labels), abs=1)

    @pytest.mark.parametrize(("norm", "theirs", "epsilon"), [("linf", "Linf", 8 / 255), ("l2", "L2", 0.5)])
    def test_apgd_is_as_strong_as_pyautoattack(self, colour, norm, theirs, epsilon):
        model, images, labels = colour
        attack = APGDAttack(model, n_iter=20, norm=theirs, eps=epsilon, seed=0, device="cpu")
        expected = accuracy(model, attack.perturb(images, labels), labels)
        ours = apgd(*colour, epsilon, steps=20, rng=rng_of(), norm=norm)
        assert accuracy(model, ours, labels) == pytest.approx(expected, abs=1)
