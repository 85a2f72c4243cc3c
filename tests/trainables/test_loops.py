"""Training loops: what holds for every recipe, and what each adds."""

import math

import pytest
import torch

from trainables import adversarial, attacks, checkpoint, gan, registry
from trainables.attacks import cross_entropy
from trainables.config import CONFIGURATIONS, GeneratorConfig
from trainables.loop import DivergedError, LossMean
from trainables.models import build_generator

# Reports fall into the middle of a turn where that is one epoch or a few minibatches; a random start draws numbers.
GAN_VARIANTS = {
    "epoch turns": {"ratio": {"turn_batches": None, "generator_turns": 2}, "compute": 6.0},
    "adaptive": {
        "ratio": {"kind": "adaptive", "target_generator_loss": 0.14, "max_generator_turns": 5, "turn_batches": 3},
        "compute": 4.0,
    },
    "stepped": {"ratio": {"kind": "stepped", "steps": [1, 3]}},
    "random start, warm-up": {"generator": {"width": 4, "random_start": True, "warmup": 0.8}},
    "image only, strided": {"generator": {"width": 4, "image_gradient": "none", "body": "strided"}},
    "sign, cross-entropy": {"generator": {"width": 4, "image_gradient": "sign", "loss": "cross_entropy"}},
    "no pre-training": {"pretrain": 0.0, "clean_weight": 0.0},
}
RUNS = {
    **{name: (name, {}) for name in registry.LOOPS},
    **{f"gan, {name}": ("gan", changes) for name, changes in GAN_VARIANTS.items()},
}


@pytest.fixture
def loop_of(config_of, few_digits):
    return lambda trainable, **changes: registry.build(config_of(trainable, **changes), few_digits)


def finish(loop):
    """Return the metrics of all reports that are left."""
    reports = []
    while not loop.done:
        reports.append(loop.step())
    return reports


def without_seconds(reports):
    return [{name: value for name, value in report.items() if not name.endswith("_s")} for report in reports]


def tensors_of(value):
    """Return all tensors of a nested state, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors_of(part)]


def leaves_of(value, path=""):
    """Return what a nested state holds, by path, without the seconds."""
    if not isinstance(value, dict | list | tuple):
        return {} if path.endswith("_s") else {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {name: leaf for key, item in items for name, leaf in leaves_of(item, f"{path}/{key}").items()}


def is_same_state(one, other):
    ours, theirs = leaves_of(one.state()), leaves_of(other.state())
    return list(ours) == list(theirs) and all(
        torch.equal(leaf, theirs[path]) if isinstance(leaf, torch.Tensor) else leaf == theirs[path]
        for path, leaf in ours.items()
    )


def copy_of(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def is_unchanged(model, copies):
    return all(torch.equal(one, other) for one, other in zip(model.parameters(), copies, strict=True))


def cost_of_a_minibatch(loop):
    """Return the compute of the most expensive minibatch so far."""
    costs = loop.meter.state()["flops_per_image"].values()
    epoch = loop.meter.state()["flops"] / loop.meter.compute
    return max(costs) * loop.config.batch_size / epoch


def test_every_recipe_has_a_configuration():
    assert list(registry.LOOPS) == list(CONFIGURATIONS)


@pytest.mark.parametrize("trainable", registry.LOOPS)
class TestEveryRecipe:
    def test_reports_come_at_every_share_of_the_compute(self, trainable, loop_of):
        loop = loop_of(trainable, compute=1.7, report_every=0.6)
        reports = finish(loop)
        slack = cost_of_a_minibatch(loop)
        assert [report["step"] for report in reports] == [1, 2, 3]
        for report, asked in zip(reports, (0.6, 1.2, 1.7), strict=True):
            assert asked <= report["compute"] <= asked + slack
        assert reports[-1]["compute"] == loop.meter.compute
        assert loop.progress == 1

    @pytest.mark.parametrize("compute", [0.3, 1.0, 1.7])
    def test_the_compute_is_spent_with_at_most_one_minibatch_more(self, trainable, loop_of, compute):
        loop = loop_of(trainable, compute=compute, report_every=9.0)
        (report,) = finish(loop)
        assert compute <= report["compute"] <= compute + cost_of_a_minibatch(loop)

    def test_metrics(self, trainable, loop_of):
        reports = finish(loop_of(trainable))
        for report in reports:
            accuracies = {f"{name}_accuracy" for name in ("clean", "fgsm", "rfgsm", "pgd", "robust")}
            assert accuracies <= set(report)
            assert all(0 <= report[name] <= 1 for name in accuracies)
            assert {"step", "compute", "train_s", "evaluation_s"} < set(report)
            assert all(math.isfinite(value) for value in report.values())
            assert ("masking_failures" in report) is (report is reports[-1])

    def test_watched_at_every_report_and_ranked_at_the_last(self, trainable, loop_of):
        loop = loop_of(trainable)
        tiers = []
        evaluate = loop.evaluate
        loop.evaluate = lambda tier: tiers.append(tier) or evaluate(tier)
        finish(loop)
        assert tiers == ["watch"] * 3 + ["rank"]

    def test_the_tiers_see_their_number_of_validation_images(self, trainable, loop_of):
        loop = loop_of(trainable)
        shares = [loop.evaluate(tier)["clean_accuracy"] * count for tier, count in (("watch", 20), ("rank", 30))]
        assert shares == [pytest.approx(round(share)) for share in shares]

    def test_follows_from_the_seed(self, trainable, loop_of):
        runs = [finish(loop_of(trainable, seed=seed)) for seed in (1, 1, 2)]
        assert without_seconds(runs[0]) == without_seconds(runs[1])
        assert without_seconds(runs[0]) != without_seconds(runs[2])

    def test_global_random_numbers_play_no_part(self, trainable, loop_of):
        state = torch.random.get_rng_state()
        finish(loop_of(trainable))
        assert torch.equal(torch.random.get_rng_state(), state)

    @pytest.mark.parametrize("learning_rate", [1e12, 1e20])
    def test_a_loss_that_is_no_number_is_an_error(self, trainable, loop_of, learning_rate):
        loop = loop_of(trainable, classifier={"architecture": "mlp", "learning_rate": learning_rate})
        with pytest.raises(DivergedError, match=r"_loss is (nan|inf) .*after \d\.\d\d epochs of compute"):
            finish(loop)

    def test_a_last_update_that_spoils_the_weights_is_an_error(self, trainable, loop_of, monkeypatch):
        loop = loop_of(trainable)
        train = loop.train_minibatch

        def spoil():
            train()
            with torch.no_grad():
                next(loop.classifier.parameters()).view(-1)[0] = torch.nan

        monkeypatch.setattr(loop, "losses", lambda: {"classifier_loss": 0.5})
        monkeypatch.setattr(loop, "train_minibatch", spoil)
        with pytest.raises(DivergedError, match="weights are not finite"):
            loop.step()

    def test_learns(self, trainable, loop_of):
        reports = finish(loop_of(trainable, compute=12.0, report_every=6.0))
        assert reports[-1]["clean_accuracy"] > 0.25  # chance is 0.1
        assert reports[-1]["train_s"] > reports[0]["train_s"] > 0
        assert reports[-1]["evaluation_s"] > reports[0]["evaluation_s"] > 0

    def test_the_device_of_the_dataset_is_the_device_of_the_run(self, trainable, loop_of):
        loop = loop_of(trainable)
        assert {tensor.device for tensor in tensors_of(loop.state())} == {loop.dataset.train.images.device}


@pytest.mark.parametrize(("trainable", "changes"), RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("saved_at", [1, 3])
def test_a_restored_run_goes_on_bit_for_bit(trainable, changes, saved_at, loop_of, tmp_path):
    whole = loop_of(trainable, **changes)
    expected = finish(whole)
    assert len(expected) > saved_at

    interrupted = loop_of(trainable, **changes)
    for _ in range(saved_at):
        interrupted.step()
    checkpoint.save(tmp_path, saved_at, interrupted.state())
    restored = loop_of(trainable, **changes)
    restored.restore(checkpoint.load_newest(tmp_path))
    assert is_same_state(restored, interrupted)
    assert without_seconds(finish(restored)) == without_seconds(expected[saved_at:])
    assert is_same_state(restored, whole)
    assert not is_same_state(restored, interrupted)
    assert restored.train_s > interrupted.train_s


class TestStandard:
    def test_is_the_plain_update(self, loop_of):
        loop, twin = loop_of("standard"), loop_of("standard")
        images, labels = twin.minibatches.draw()
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
            images, labels = twin.minibatches.draw()
            attacked = attacks.fgsm(twin.classifier, images, labels, epsilon)
            twin.update_classifier(adversarial.mixed_loss(twin.classifier, images, attacked, labels, clean_weight))
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
        loss = adversarial.mixed_loss(trained, *pair, clean_weight)
        torch.testing.assert_close(loss, clean_weight * clean + (1 - clean_weight) * attacked)

    @pytest.mark.parametrize(("clean_weight", "num_images"), [(0.0, 8), (0.5, 16), (1.0, 8)])
    def test_a_side_without_weight_is_left_out(self, trained, pair, clean_weight, num_images):
        seen = []
        adversarial.mixed_loss(lambda some: seen.append(len(some)) or trained(some), *pair, clean_weight)
        assert seen == [num_images]


class TestGan:
    def test_the_turns_follow_pre_training(self, loop_of):
        loop = loop_of("gan", batch_size=64, pretrain=0.5, ratio={"generator_turns": 2}, compute=5.0)
        whose = ""
        for _ in range(9):
            classifier, generator = copy_of(loop.classifier), copy_of(loop.generator)
            loop.train_minibatch()
            learned = is_unchanged(loop.classifier, classifier), is_unchanged(loop.generator, generator)
            whose += {(False, True): "C", (True, False): "G"}[learned]
        # Half an epoch is three of the five minibatches.
        assert whose == "CCC" + "GGCGGC"

    @pytest.mark.parametrize("image_gradient", ["none", "sign", "normalized"])
    def test_the_generators_turn_leaves_the_classifier_frozen(self, loop_of, image_gradient):
        loop = loop_of("gan", pretrain=0.0, generator={"width": 4, "image_gradient": image_gradient})
        classifier, generator = copy_of(loop.classifier), copy_of(loop.generator)
        loop.train_minibatch()
        assert is_unchanged(loop.classifier, classifier)
        assert not is_unchanged(loop.generator, generator)
        assert all(parameter.grad is None and parameter.requires_grad for parameter in loop.classifier.parameters())

    @pytest.mark.parametrize("image_gradient", ["none", "sign", "normalized"])
    def test_the_classifiers_turn_leaves_the_generator_frozen(self, loop_of, image_gradient):
        loop = loop_of("gan", pretrain=0.0, generator={"width": 4, "image_gradient": image_gradient})
        loop.train_minibatch()
        classifier, generator = copy_of(loop.classifier), copy_of(loop.generator)
        moments = [tensor.clone() for tensor in tensors_of(loop.generator_optimizer.state_dict())]
        loop.train_minibatch()
        assert not is_unchanged(loop.classifier, classifier)
        assert is_unchanged(loop.generator, generator)
        after = tensors_of(loop.generator_optimizer.state_dict())
        assert all(torch.equal(one, other) for one, other in zip(after, moments, strict=True))

    @pytest.mark.parametrize("random_start", [False, True])
    @pytest.mark.parametrize("bound", [0.05, 0.5])
    def test_perturbed_images_stay_in_the_ball_and_the_box(self, loop_of, monkeypatch, random_start, bound):
        seen = []

        def recorded(logits_fn, images, perturbed, labels, clean_weight):
            seen.append((images, perturbed))
            return adversarial.mixed_loss(logits_fn, images, perturbed, labels, clean_weight)

        monkeypatch.setattr(gan, "mixed_loss", recorded)
        generator = {"width": 4, "perturbation_bound": bound, "random_start": random_start}
        loop = loop_of("gan", pretrain=0.0, generator=generator, compute=2.0)
        for _ in range(6):
            loop.train_minibatch()
        assert len(seen) == 3
        for images, perturbed in seen:
            assert 0 <= perturbed.min() <= perturbed.max() <= 1
            assert 0.3 * bound < (perturbed - images).abs().max() <= bound + 1e-6
            assert not perturbed.requires_grad

    @pytest.mark.parametrize("loss", ["wrongness", "cross_entropy"])
    def test_a_generator_against_a_frozen_classifier_learns_to_fool_it(self, loop_of, loss):
        generator = {"width": 8, "perturbation_bound": 0.3, "learning_rate": 5e-3, "loss": loss}
        loop = loop_of("gan", pretrain=4.0, compute=99.0, generator=generator, ratio={"generator_turns": 1000})
        while loop.meter.compute < 4:
            loop.train_minibatch()
        losses = []
        for _ in range(40):
            loop.train_minibatch()
            losses.append(loop.generator_loss.take())
        assert sum(losses[-5:]) < sum(losses[:5])

    def test_the_bound_warms_up(self, loop_of):
        generator = {"width": 4, "warmup": 0.5, "perturbation_bound": 0.2}
        loop = loop_of("gan", pretrain=0.0, generator=generator, compute=3.0)
        bounds = {}
        while not loop.done:
            bounds[loop.progress] = loop.bound
            loop.train_minibatch()
        assert bounds.pop(0.0) == 0
        assert len(bounds) > 5
        for progress, bound in bounds.items():
            assert bound == pytest.approx(0.4 * progress if progress < 0.5 else 0.2)

    def test_without_warm_up_the_bound_is_there_at_once(self, loop_of):
        assert loop_of("gan", generator={"perturbation_bound": 0.2}).bound == 0.2

    def test_a_turn_is_one_epoch_when_asked(self, loop_of):
        loop = loop_of(
            "gan", batch_size=64, pretrain=0.0, compute=99.0, ratio={"turn_batches": None, "generator_turns": 2}
        )
        for _ in range(15):
            loop.train_minibatch()
        assert (loop.generator_minibatches.drawn, loop.minibatches.drawn) == (10, 5)
        assert (loop.turns.cycles, loop.turns.generator_turns) == (1, 2)

    @pytest.mark.parametrize("generator_turns", [1, 2, 4])
    def test_the_ratio_is_reported_when_a_cycle_ended(self, loop_of, generator_turns):
        loop = loop_of("gan", compute=12.0, report_every=6.0, ratio={"generator_turns": generator_turns})
        reports = finish(loop)
        assert [report["ratio"] for report in reports] == [pytest.approx(generator_turns, rel=0.3)] * 2
        assert loop.turns.generator_turns == pytest.approx(generator_turns * loop.turns.cycles, abs=generator_turns)

    def test_losses_of_turns_that_were_not_taken_are_not_reported(self, loop_of):
        pretraining, generating = finish(
            loop_of("gan", pretrain=0.5, compute=1.0, report_every=0.5, ratio={"generator_turns": 99})
        )
        assert ("classifier_loss" in pretraining, "generator_loss" in pretraining) == (True, False)
        assert ("classifier_loss" in generating, "generator_loss" in generating) == (False, True)
        assert 0 < generating["generator_loss"] < 1
        assert "ratio" not in {**pretraining, **generating}


class TestSee:
    @pytest.fixture
    def images_and_labels(self, digits):
        return digits.test.batch(torch.arange(6))

    def test_the_image_alone(self, trained, images_and_labels):
        assert torch.equal(gan.see(trained, *images_and_labels, "none"), images_and_labels[0])

    @pytest.mark.parametrize("image_gradient", ["sign", "normalized"])
    @pytest.mark.parametrize("leading", [(), (6,), (2, 3)])
    def test_the_gradient_is_a_second_channel(self, trained, images_and_labels, image_gradient, leading):
        count = math.prod(leading)
        images = images_and_labels[0][:count].reshape(*leading, 1, 28, 28)
        labels = images_and_labels[1][:count].reshape(leading)
        seen = gan.see(trained, images, labels, image_gradient)
        assert seen.shape == (*leading, 2, 28, 28)
        assert torch.equal(seen[..., :1, :, :], images)
        gradient = attacks.input_gradient(trained, images, labels, cross_entropy)
        assert torch.equal(seen[..., 1:, :, :].sign(), gradient.sign())
        assert build_generator(GeneratorConfig(image_gradient=image_gradient))(seen).shape == images.shape

    def test_sizes(self, trained, images_and_labels):
        signs = gan.see(trained, *images_and_labels, "sign")[:, 1]
        assert set(signs.unique().tolist()) <= {-1.0, 0.0, 1.0}
        normalized = gan.see(trained, *images_and_labels, "normalized")[:, 1]
        torch.testing.assert_close(normalized.square().mean((-2, -1)).sqrt(), torch.ones(6))

    @pytest.mark.parametrize("margin", [0.0, 30.0, 55.0, 60.0, 80.0, 200.0])
    def test_the_gradient_of_a_confident_classifier_stays_small_numbers(self, images_and_labels, margin):
        images, _ = images_and_labels

        def confident(some):  # sure of label 0 by that margin, and still of some slope
            slope = some.mean((-3, -2, -1)).unsqueeze(-1) * torch.arange(10.0)
            return slope + margin * torch.eye(10)[0]

        channel = gan.see(confident, images, torch.zeros(6, dtype=torch.int64), "normalized")[:, 1]
        assert channel.isfinite().all()
        assert channel.abs().max() < 30


class TestLossMean:
    def test_is_the_mean_since_the_last_take(self):
        mean = LossMean()
        assert mean.take() is None
        for loss in (1.0, 2.0, 6.0):
            mean.add(torch.tensor(loss, requires_grad=True))
        assert mean.take() == 3.0
        assert mean.take() is None

    def test_goes_on_from_a_state(self):
        mean, restored = LossMean(), LossMean()
        mean.add(torch.tensor(1.0))
        restored.restore(mean.state())
        restored.add(torch.tensor(3.0))
        assert (mean.take(), restored.take()) == (1.0, 2.0)


class TestDatasetFor:
    def test_loads_what_the_configuration_names(self, config_of):
        config = config_of("standard", dataset={"name": "digits", "validation": 137})
        dataset = registry.dataset_for(config)
        assert (dataset.name, len(dataset.validation)) == ("digits", 137)
