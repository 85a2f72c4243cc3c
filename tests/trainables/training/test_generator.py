"""The adversary: apart from any loop, against a classifier that stays as it is."""

import copy

import pytest
import torch

from tests.support.loops import copy_of, is_unchanged
from trainables.common.tasks import MNIST
from trainables.config import GeneratorConfig
from trainables.training.generator import Adversary, diversity_term, saturation_term

LOSSES = ["wrongness", "cross_entropy", "log_wrongness", "margin"]
BOUND = 0.3


def adversary_of(seed=0, **changes):
    return Adversary(GeneratorConfig(**{"width": 8, "learning_rate": 5e-3, "see_label": True, **changes}), MNIST, seed)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def batch(digits):
    return digits.train.batch(torch.arange(64))


@pytest.fixture
def classifier(trained):
    """A copy of the trained net without gradients left from its training."""
    own = copy.deepcopy(trained)
    own.zero_grad(set_to_none=True)
    return own


class TestUpdate:
    @pytest.mark.parametrize("mode", [False, True])
    @pytest.mark.parametrize("goal", [{}, {"goal": "source_to_target", "source": 1, "target": 2}, {"recursions": 3}])
    def test_leaves_the_classifier_as_it_was_found(self, classifier, batch, mode, goal):
        classifier.train(mode)
        first, *others = classifier.parameters()
        first.requires_grad_(False)
        others[0].grad = torch.ones_like(others[0])
        before, adversary = copy_of(classifier), adversary_of(**goal)
        adversary.update(classifier, *batch, BOUND, rng())
        adversary.perturb(classifier, *batch, BOUND, rng())
        assert is_unchanged(classifier, before)
        assert classifier.training is mode
        assert [parameter.requires_grad for parameter in classifier.parameters()] == [False, *([True] * len(others))]
        assert torch.equal(others[0].grad, torch.ones_like(others[0]))
        assert all(parameter.grad is None for parameter in (first, *others[1:]))

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("aim", [{}, {"goal": "targeted", "target": 3}])
    @pytest.mark.parametrize("body", ["space_to_depth", "strided", "residual"])
    def test_learns_to_fool_a_frozen_classifier(self, classifier, batch, loss, aim, body):
        adversary, stream = adversary_of(loss=loss, body=body, **aim), rng()
        lost = [adversary.update(classifier, *batch, BOUND, stream).failure_probability.item() for _ in range(40)]
        assert sum(lost[-5:]) < sum(lost[:5])

    @pytest.mark.parametrize("loss", LOSSES)
    def test_reports_how_far_it_has_lost_whatever_the_loss(self, classifier, batch, loss):
        images, labels = batch
        adversary = adversary_of(loss=loss)
        with torch.no_grad():
            moved = adversary.perturb(classifier, images, labels, BOUND, rng())
            p_correct = classifier(moved).softmax(-1).gather(-1, labels.unsqueeze(-1)).mean()
        torch.testing.assert_close(
            adversary.update(classifier, images, labels, BOUND, rng()).failure_probability, p_correct
        )
        targeted = adversary_of(loss=loss, goal="targeted", target=3)
        with torch.no_grad():
            moved = targeted.perturb(classifier, images, labels, BOUND, rng())
            missed = 1 - classifier(moved).softmax(-1)[:, 3].mean()
        torch.testing.assert_close(
            targeted.update(classifier, images, labels, BOUND, rng()).failure_probability, missed
        )

    def test_a_clipped_gradient_moves_sgd_no_further(self, classifier, batch):
        def moved(gradient_clip):
            adversary = adversary_of(optimizer="sgd", learning_rate=1.0, gradient_clip=gradient_clip)
            before = torch.nn.utils.parameters_to_vector(adversary.generator.parameters()).detach().clone()
            adversary.update(classifier, *batch, BOUND, rng())
            return (torch.nn.utils.parameters_to_vector(adversary.generator.parameters()) - before).norm().item()

        assert moved(1e-3) == pytest.approx(1e-3, rel=1e-2)
        assert moved(None) > 2e-3

    def test_recursions_fool_more_than_one_pass_with_the_same_step(self, classifier, batch):
        def lost(recursions):
            adversary, stream = adversary_of(recursions=recursions, recursion_step=0.4, loss="cross_entropy"), rng()
            return [adversary.update(classifier, *batch, 0.1, stream).failure_probability.item() for _ in range(30)][-1]

        assert lost(3) < lost(2)

    def test_diversity_moves_draws_apart(self, classifier, batch):
        def apart(diversity):
            adversary, stream = adversary_of(noise=4, diversity=diversity), rng()
            for _ in range(30):
                adversary.update(classifier, *batch, BOUND, stream)
            one, other = (adversary.perturb(classifier, *batch, BOUND, rng(seed)) for seed in (1, 2))
            return (one - other).abs().mean().item()

        assert apart(3.0) > 1.5 * apart(0.0)

    def test_the_diversity_term_is_distance_by_distance_of_the_noise(self):
        moved = torch.zeros(4, 1, 28, 28)
        moved[2], moved[3] = 0.1, 0.3
        noise = torch.tensor([[0.0], [0.0], [1.0], [2.0]])
        assert diversity_term(moved, noise).item() == pytest.approx((0.1 / 1 + 0.3 / 2) / 2)


AIM = {"goal": "source_to_target", "source": 1, "target": 2}


class TestSourceToTarget:
    def test_only_images_of_the_source_are_perturbed(self, classifier, batch):
        images, labels = batch
        adversary = adversary_of(**AIM, random_start=True)
        moved = (adversary.perturb(classifier, images, labels, BOUND, rng()) != images).flatten(1).any(1)
        assert torch.equal(moved, labels == 1)
        assert adversary.num_perturbed(labels) == moved.sum()

    def test_other_images_do_not_count_in_what_it_learns(self, classifier, batch):
        images, labels = batch
        whole, alone = adversary_of(**AIM), adversary_of(**AIM)
        update = whole.update(classifier, images, labels, BOUND, rng())
        of_source = alone.update(classifier, images[labels == 1], labels[labels == 1], BOUND, rng())
        assert torch.equal(update.loss, of_source.loss)
        assert is_unchanged(whole.generator, copy_of(alone.generator))

    def test_a_minibatch_without_the_source_changes_nothing(self, classifier, batch):
        images, labels = batch[0][batch[1] != 1], batch[1][batch[1] != 1]
        adversary = adversary_of(**AIM)
        before = copy_of(adversary.generator)
        assert adversary.update(classifier, images, labels, BOUND, rng()) is None
        assert torch.equal(adversary.perturb(classifier, images, labels, BOUND, rng()), images)
        assert is_unchanged(adversary.generator, before)


class TestPast:
    def test_the_pool_keeps_the_newest_of_every_so_many_cycles(self, classifier, batch):
        adversary, kept = adversary_of(pool=2, pool_every=3), []
        for cycle in range(1, 11):
            adversary.update(classifier, *batch, BOUND, rng())
            adversary.end_cycle(cycle)
            if cycle % 3 == 0:
                kept.append(copy_of(adversary.generator))
        assert len(kept) == 3
        assert len(adversary.pool) == 2
        assert all(is_unchanged(past, then) for past, then in zip(adversary.pool, kept[1:], strict=True))

    def test_perturbations_come_from_the_present_and_every_past_one(self, classifier, batch):
        adversary, stream = adversary_of(pool=2, pool_every=1), rng()
        for cycle in (1, 2):
            adversary.update(classifier, *batch, BOUND, stream)
            adversary.end_cycle(cycle)
        adversary.update(classifier, *batch, BOUND, stream)
        present = adversary.perturb(classifier, *batch, BOUND, stream)
        made = [adversary.perturb(classifier, *batch, BOUND, stream, from_pool=True) for _ in range(30)]
        different = {tuple(each.sum((1, 2, 3)).tolist()) for each in made}
        assert len(different) == 3
        assert any(torch.equal(each, present) for each in made)

    def test_it_starts_anew_with_other_weights_and_no_memory(self, classifier, batch):
        adversary, first = adversary_of(reinitialise_every=2), copy_of(adversary_of().generator)
        assert is_unchanged(adversary.generator, first)
        adversary.update(classifier, *batch, BOUND, rng())
        adversary.end_cycle(1)
        assert adversary.optimizer.state_dict()["state"]
        before = adversary.generator
        adversary.end_cycle(2)
        assert adversary.generator is not before
        assert not is_unchanged(adversary.generator, first)
        assert not adversary.optimizer.state_dict()["state"]
        again = adversary_of(reinitialise_every=2)
        again.end_cycle(2)
        assert is_unchanged(adversary.generator, copy_of(again.generator))


def test_goes_on_from_a_state_bit_for_bit(classifier, batch):
    settings = {"pool": 2, "pool_every": 1, "noise": 2, "random_start": True, "optimizer": "sgd"}
    whole, stream = adversary_of(**settings), rng()
    for cycle in (1, 2):
        whole.update(classifier, *batch, BOUND, stream)
        whole.end_cycle(cycle)
    restored = adversary_of(seed=5, **settings)
    restored.restore(copy.deepcopy(whole.state()))
    other = rng()
    other.set_state(stream.get_state())
    for adversary, own in ((whole, stream), (restored, other)):
        adversary.update(classifier, *batch, BOUND, own)
    assert is_unchanged(whole.generator, copy_of(restored.generator))
    for _ in range(5):
        one, same = (
            adversary.perturb(classifier, *batch, BOUND, own, from_pool=True)
            for adversary, own in ((whole, stream), (restored, other))
        )
        assert torch.equal(one, same)


class TestSaturationPenalty:
    def test_is_zero_where_the_tanh_has_a_slope(self):
        assert saturation_term(torch.tensor([-2.0, 0.0, 1.9])) == 0
        assert saturation_term(torch.tensor([-4.0, 0.0, 3.0, 1.0])) == pytest.approx((4 + 1) / 4)

    def test_brings_a_saturated_generator_back(self, classifier, batch):
        """Within a tiny bound, the loss alone leaves it where it is."""

        def size_after(penalty):
            adversary, stream = adversary_of(saturation_penalty=penalty, output_scale=100.0), rng()
            for _ in range(80):
                adversary.update(classifier, *batch, 1e-4, stream)
            return adversary.pre_activations(classifier, *batch, 1e-4, rng()).abs().mean().item()

        assert size_after(0.1) < 2.5 < 4 < size_after(0.0)

    def test_pre_activations_are_those_of_the_images_that_the_goal_perturbs(self, classifier, batch):
        images, labels = batch
        adversary = adversary_of(goal="source_to_target", source=1, target=2)
        found = adversary.pre_activations(classifier, images, labels, BOUND, rng())
        assert found.shape == (int((labels == 1).sum()), 1, 28, 28)
        assert not found.requires_grad
