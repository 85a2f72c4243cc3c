"""The recipes without a generator: what each adds to the loop."""

import pytest
import torch

from tests.support.loops import copy_of, is_unchanged
from trainables.attacks import gradient as attacks
from trainables.attacks.losses import cross_entropy
from trainables.training import recipes


class TestStandard:
    def test_is_the_plain_update(self, loop_of):
        loop, twin = loop_of("standard"), loop_of("standard")
        images, labels = twin.minibatches.next_minibatch()
        optimizer = torch.optim.Adam(twin.classifier.parameters(), lr=1e-3, fused=True)
        cross_entropy(twin.classifier(images), labels).mean().backward()
        optimizer.step()
        loop.train_minibatch()
        assert is_unchanged(loop.classifier, copy_of(twin.classifier))


class TestFgsmRetraining:
    @pytest.mark.parametrize(("attack", "epsilon"), [({}, 0.1), ({"epsilon": None}, 0.1), ({"epsilon": 0.25}, 0.25)])
    @pytest.mark.parametrize("clean_weight", [0.0, 0.3, 0.5])
    def test_learns_from_images_and_from_fgsm_images_of_the_present_net(self, loop_of, attack, epsilon, clean_weight):
        loop, twin = (loop_of("fgsm_retraining", attack=attack, clean_weight=clean_weight) for _ in range(2))
        for _ in range(3):
            loop.train_minibatch()
            images, labels = twin.minibatches.next_minibatch()
            attacked = attacks.fgsm(twin.classifier, images, labels, epsilon)
            loss = recipes.mixed_loss(twin.classifier, images, attacked, labels, clean_weight)
            twin.classifier_loss.add(twin.descend(loss))
        assert twin.classifier_loss.take() == pytest.approx(loop.classifier_loss.take(), rel=1e-5)
        pairs = zip(loop.classifier.parameters(), twin.classifier.parameters(), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


class TestAttackedRecipes:
    @pytest.mark.parametrize(("trainable", "steps"), [("fgsm_random_start", 1), ("pgd", 7), ("trades", 7)])
    def test_train_on_images_inside_the_ball_and_the_box(self, loop_of, monkeypatch, trainable, steps):
        loop, made, asked = loop_of(trainable), [], []
        pgd = attacks.pgd

        def recorded(logits_fn, images, labels, epsilon, **options):
            made.append((images, pgd(logits_fn, images, labels, epsilon, **options)))
            asked.append(options)
            return made[-1][1]

        monkeypatch.setattr(attacks, "pgd", recorded)
        monkeypatch.setattr(type(loop), "epsilon", 0.1)
        loop.train_minibatch()
        (images, attacked), options = made[0], asked[0]
        assert options["steps"] == steps
        assert options["step_size"] == pytest.approx({1: 0.125, 7: 0.25 / 7}[steps])
        assert (attacked - images).abs().max() <= 0.1 + 1e-6
        assert (attacked - images).abs().max() > 0.05
        assert attacked.min() >= 0
        assert attacked.max() <= 1

    def test_epsilon_warms_up_over_the_compute(self, loop_of):
        loop = loop_of("pgd", attack={"warmup": 0.5}, compute=8.0)
        assert loop.epsilon == 0
        while loop.progress < 0.25:
            loop.train_minibatch()
        assert loop.epsilon == pytest.approx(0.1 * loop.progress / 0.5)

    def test_the_learning_rate_follows_its_schedule(self, loop_of):
        loop = loop_of("pgd", classifier={"architecture": "mlp", "learning_rate": 0.01, "schedule": "cyclic"})
        rates = []
        while not loop.done:
            loop.step()
            loop.set_learning_rate()
            rates.append(loop.optimizer.param_groups[0]["lr"])
        assert max(rates) <= 0.01
        assert rates[-1] == pytest.approx(0.0)
        assert rates.index(max(rates)) < len(rates) - 1

    def test_a_partial_override_keeps_the_recipes_own_defaults(self, config_of):
        config = config_of("fgsm_random_start", classifier={"architecture": "mlp"}, attack={"epsilon": 0.2})
        assert (config.classifier.learning_rate, config.classifier.schedule) == (5e-3, "cyclic")
        assert (config.attack.steps, config.attack.reach) == (1, 1.25)

    def test_trades_with_beta_zero_learns_as_standard_training(self, loop_of):
        trades = loop_of("trades", beta=0.0, seed=3, classifier={"architecture": "mlp", "schedule": "constant"})
        standard = loop_of("standard", seed=3, classifier={"architecture": "mlp", "learning_rate": 5e-3})
        for _ in range(3):
            trades.train_minibatch()
            standard.train_minibatch()
        for one, other in zip(trades.classifier.parameters(), standard.classifier.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


class TestMixedLoss:
    @pytest.fixture
    def pair(self, digits):
        images, labels = digits.train.batch(torch.arange(8))
        return images, 1 - images, labels

    @pytest.mark.parametrize("clean_weight", [0.0, 0.25, 0.5, 1.0])
    def test_weighs_the_two_means(self, trained, pair, clean_weight):
        images, adversarial_images, labels = pair
        clean, attacked = (cross_entropy(trained(some), labels).mean() for some in (images, adversarial_images))
        loss = recipes.mixed_loss(trained, *pair, clean_weight)
        torch.testing.assert_close(loss, clean_weight * clean + (1 - clean_weight) * attacked)

    @pytest.mark.parametrize(("clean_weight", "num_images"), [(0.0, 8), (0.5, 16), (1.0, 8)])
    def test_a_side_without_weight_is_left_out(self, trained, pair, clean_weight, num_images):
        seen = []
        recipes.mixed_loss(lambda some: seen.append(len(some)) or trained(some), *pair, clean_weight)
        assert seen == [num_images]
