"""The tier final: what each attack leaves, what it comes to, and the nets that it must not be taken in by."""

import pytest
import torch
from torch import nn

from tests.trainables.conftest import rng_of
from trainables.config import DatasetConfig
from trainables.errors import MissingExtraError, UserError
from trainables.evaluation.accuracy import evaluate
from trainables.evaluation.tiers import TIERS, AttackRow
from trainables.judging import final, surrogates
from trainables.judging.autoattack import autoattack_accuracy
from trainables.judging.final import AttackBudget
from trainables.judging.fresh_generator import FreshGenerator
from trainables.judging.saved import TrainedClassifier, evaluate_classifier

LITTLE = AttackBudget(steps=10, restarts=2, queries=50, generator_epochs=1)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and surrogate models that are trained in a moment."""
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    for recipe in surrogates.RECIPES.values():
        monkeypatch.setitem(recipe, "compute", 0.5)
        monkeypatch.setitem(recipe, "report_every", 0.5)
    return tmp_path / "cache"


@pytest.fixture
def verdict_on(digits):
    def build(classifier, **changes):
        options = {"epsilon": 0.05, "training": digits.train, "surrogates": {"itself": classifier}, "budget": LITTLE}
        return final.evaluate_final(classifier, digits.test.head(100), **{**options, **changes})

    return build


class TestFinal:
    @pytest.fixture
    def verdict(self, verdict_on, trained):
        return verdict_on(trained)

    def test_every_attack_is_in_the_account_in_its_order(self, verdict):
        names = [attack["name"] for attack in verdict["attacks"]]
        assert names == [
            *("fgsm", "rfgsm", "pgd"),
            *("apgd", "apgd_targeted", "pgd_long", "pgd_long_margin", "mi_fgsm", "fresh_generator"),
            *("transfer_itself", "square"),
        ]
        assert all(attack["seconds"] >= 0 for attack in verdict["attacks"])

    def test_what_stands_falls_to_the_worst_case(self, verdict):
        standing = [attack["standing"] for attack in verdict["attacks"]]
        assert standing == sorted(standing, reverse=True)
        assert standing[-1] == verdict["metrics"]["robust"] < standing[0]
        alone = [attack["alone"] for attack in verdict["attacks"] if attack["alone"] is not None]
        assert min(alone) >= verdict["metrics"]["robust"]

    def test_attacks_on_all_images_have_accuracies_of_their_own(self, verdict, trained, digits):
        ranked = evaluate(trained, digits.test.head(100), epsilon=0.05, tier="rank")
        metrics = verdict["metrics"]
        assert metrics["clean"] == ranked["clean"]
        assert metrics["fgsm"] == ranked["fgsm"]
        assert metrics["robust"] <= metrics["white_box"] <= metrics["pgd"]
        # Images made against the net itself are as good as its own gradient attacks, so nothing speaks of masking.
        assert metrics["white_box"] <= metrics["black_box"] <= metrics["square"]

    def test_the_curve_falls_to_zero(self, verdict):
        curve = verdict["accuracy_by_epsilon"]
        assert [epsilon for epsilon, _ in curve][:3] == [0.0, 0.05, 0.1]
        assert curve[0][1] == verdict["metrics"]["clean"]
        assert curve[-1][1] == 0
        assert verdict["metrics"]["masking_falling_curve"] == 0

    def test_follows_from_the_seed(self, verdict, verdict_on, trained):
        assert verdict_on(trained)["metrics"] == verdict["metrics"]

    def test_all_checks_are_made(self, verdict):
        failures = {name for name in verdict["metrics"] if name.startswith("masking_")}
        assert len(failures) == 9
        assert verdict["metrics"]["masking_failures"] == 0


def test_an_attack_that_is_added_to_the_tier_rank_is_run_on_all_images_too(trained, digits, monkeypatch):
    rows = [AttackRow("new", "New", "fgsm"), AttackRow("newer", "Newer", "fgsm", survivors_only=True)]
    monkeypatch.setitem(TIERS, "rank", (*TIERS["rank"], *rows))
    attacks = final.white_box_attacks(LITTLE, trained, digits.train, 0)
    assert [attack.name for attack in attacks if not attack.survivors_only] == ["fgsm", "rfgsm", "pgd", "new"]
    assert "newer" not in [attack.name for attack in attacks]


class Rounded(nn.Module):
    """A net that sees rounded pixels: its gradients are zero, or there are none; its errors are not."""

    def __init__(self, net, zero_gradients):
        super().__init__()
        self.net = net
        self.zero_gradients = zero_gradients

    def forward(self, images):
        steps = (images * 8).round() / 8
        return self.net(steps + 0.0 * images) if self.zero_gradients else self.net(steps.detach())


@pytest.mark.parametrize("zero_gradients", [True, False])
def test_a_net_without_gradients_is_found_out_by_attacks_that_need_none(verdict_on, trained, zero_gradients):
    metrics = verdict_on(Rounded(trained, zero_gradients), surrogates={"original": trained})["metrics"]
    assert metrics["fgsm"] == metrics["clean"]
    assert metrics["black_box"] < metrics["white_box"] - 0.1
    assert metrics["robust"] <= metrics["black_box"]
    assert metrics["masking_black_box"] == metrics["masking_zero_gradients"] == 1


class TestFreshGenerator:
    def test_learns_to_fool_the_net_that_it_is_given(self, trained, digits):
        images, labels = digits.test.batch(torch.arange(100))
        before = [(parameter.clone(), parameter.grad.clone()) for parameter in trained.parameters()]
        ignorant, learnt = (FreshGenerator(trained, digits.train, epochs, seed=1) for epochs in (0, 2))
        right = []
        for attack in (ignorant, learnt):
            found = attack(trained, images, labels, 0.05, rng=rng_of())
            assert (found - images).abs().max() <= 0.05 + 1e-6
            right.append(int((trained(found).argmax(-1) == labels).sum()))
        assert right[1] < right[0]
        for parameter, (value, gradient) in zip(trained.parameters(), before, strict=True):
            assert torch.equal(parameter, value)
            assert torch.equal(parameter.grad, gradient)
            assert parameter.requires_grad


class TestSurrogates:
    def test_are_trained_once_and_kept(self, cache, digits):
        config = DatasetConfig(name="digits", validation=200)
        first = surrogates.load_surrogates(digits, config, 0.1)
        assert list(first) == ["standard", "pgd"]
        kept = sorted(cache.glob("rivals/digits-*/classifier.safetensors"))
        times = [path.stat().st_mtime_ns for path in kept]
        again = surrogates.load_surrogates(digits, config, 0.1)
        assert [path.stat().st_mtime_ns for path in kept] == times
        images, _ = digits.test.batch(torch.arange(5))
        for name, net in first.items():
            assert torch.equal(net(images), again[name](images))
            assert not net.training
        assert not torch.equal(first["standard"](images), first["pgd"](images))

    def test_a_cache_that_cannot_be_written_is_said_with_the_way_out(self, digits, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "file"))
        with pytest.raises(UserError, match=r"cannot be kept in .*/file/rivals: .*TUNER_CACHE names another"):
            surrogates.load_surrogates(digits, DatasetConfig(name="digits", validation=200), 0.1)

    def test_another_epsilon_has_others(self, cache, digits):
        config = DatasetConfig(name="digits", validation=200)
        for epsilon in (0.1, 0.2):
            surrogates.load_surrogates(digits, config, epsilon)
        assert len(list(cache.glob("rivals/digits-pgd-*/"))) == 2

    def test_a_damaged_one_is_trained_again(self, cache, digits):
        config = DatasetConfig(name="digits", validation=200)
        surrogates.load_surrogates(digits, config, 0.1)
        damaged = next(iter(cache.glob("rivals/digits-standard-*/classifier.safetensors")))
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:100])
        surrogates.load_surrogates(digits, config, 0.1)
        assert damaged.read_bytes() == whole


class TestAutoAttack:
    def test_is_autoattack_on_the_same_images(self, trained, digits):
        images = digits.test.head(16)
        state, mode = torch.random.get_rng_state(), trained.training
        found = autoattack_accuracy(trained, images, 0.02, seed=0)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert trained.training is mode
        ours = final.evaluate_final(
            trained, images, epsilon=0.02, training=digits.train, surrogates={"itself": trained}, budget=LITTLE
        )
        assert ours["metrics"]["robust"] == pytest.approx(found["accuracy"], abs=1 / 16)
        assert 0 < found["accuracy"] <= 1
        assert found["seconds"] > 0

    def test_a_net_without_a_gradient_is_attacked_by_what_needs_none(self, trained, digits):
        net = Rounded(trained, zero_gradients=False)
        images = digits.test.head(10)
        clean, fgsm = (evaluate(net, images, epsilon=0.1, tier="rank")[name] for name in ("clean", "fgsm"))
        assert autoattack_accuracy(net, images, 0.1, seed=0)["accuracy"] < fgsm == clean

    def test_says_what_to_install(self, trained, digits, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "pyautoattack", None)
        with pytest.raises(MissingExtraError, match=r"adversarial-tuner\[robustness\]"):
            autoattack_accuracy(trained, digits.test.head(2), 0.1, seed=0)


def test_a_classifier_is_evaluated_on_the_images_that_are_asked_for(cache, trained, config_of):
    classifier = TrainedClassifier.of_run(config_of("standard"), trained, epsilon=0.05)
    verdict = evaluate_classifier(classifier, "test", tier="final", num_images=30, budget=LITTLE)
    assert {name: verdict[name] for name in ("tier", "dataset", "split", "images", "epsilon", "seed")} == {
        "tier": "final",
        "dataset": "digits",
        "split": "test",
        "images": 30,
        "epsilon": 0.05,
        "seed": 0,
    }
    assert "autoattack" not in verdict
    ranked = evaluate_classifier(classifier, "test", num_images=30)
    assert ranked["metrics"]["clean"] == verdict["metrics"]["clean"]
