"""Evaluation: toy nets whose accuracies are known, and what must hold for any net."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from trainables.common.tasks import MNIST
from trainables.data.tensors import Split
from trainables.evaluation import masking
from trainables.evaluation.accuracy import evaluate, evaluating
from trainables.evaluation.attack_table import ATTACKS, attacks_of
from trainables.evaluation.metrics import accuracy_of
from trainables.evaluation.tiers import TIERS, AttackRow

EVERY_TIER = pytest.mark.parametrize("tier", TIERS)
NAMES = ["clean", "fgsm", "rfgsm", "pgd", "robust"]


@pytest.fixture(autouse=True)
def few_queries(monkeypatch):
    """Let Square search for a moment only: what it finds is no matter of these tests."""
    rows = [
        replace(row, options={**row.options, "queries": 10}) if "queries" in row.options else row
        for row in TIERS["rank"]
    ]
    monkeypatch.setitem(TIERS, "rank", tuple(rows))


class Brightness(nn.Module):
    """Says 1 where the mean pixel is above a half, else 0."""

    def forward(self, images):
        mean = images.mean((-3, -2, -1)).unsqueeze(-1)
        return torch.cat([0.5 - mean, mean - 0.5, torch.full_like(mean, -9).expand(*mean.shape[:-1], 8)], -1)


class Constant(nn.Module):
    """Says 3 whatever it sees."""

    def forward(self, images):
        return 0.0 * images.flatten(-3).sum(-1, keepdim=True) + torch.eye(10)[3]


class NotFinite(nn.Module):
    """Says 0, with a value in place of one logit where a condition holds; the argmax is class 0 all the same."""

    def __init__(self, value, *, where=lambda images: True):
        super().__init__()
        self.value, self.where = value, where

    def forward(self, images):
        logits = 0.0 * images.flatten(-3).sum(-1, keepdim=True) + torch.eye(10)[0]
        changed = torch.arange(10) == (4 if self.value == -torch.inf else 0)
        bad = torch.as_tensor(self.where(images)).expand(logits.shape[:-1]).unsqueeze(-1) & changed
        return torch.where(bad, self.value, logits)


class NaNGradient(nn.Module):
    """Says 1 where the mean pixel is above a half, by a function whose gradient is NaN at every image of one grey."""

    def forward(self, images):
        mean = images.mean((-3, -2, -1)).unsqueeze(-1) - 0.5
        bent = mean + 0.0 * (images.var((-3, -2, -1), correction=0).unsqueeze(-1)).sqrt()
        return torch.cat([-bent, bent, torch.full_like(mean, -9).expand(*mean.shape[:-1], 8)], -1)


def accuracies(model, split, *, tier, **settings):
    """Return a tier's accuracies by the names of the tier `rank`, without what that tier says of masking."""
    metrics = evaluate(model, split, tier=tier, **settings)
    assert ("masking_failures" in metrics) is (tier == "rank")
    return {name: metrics[accuracy_of(name, tier)] for name in NAMES}


def grey_images(*values):
    """Return flat images of those bytes, labelled by what `Brightness` should say."""
    images = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28).contiguous()
    return Split(images, torch.tensor([int(value > 127) for value in values]), MNIST)


@EVERY_TIER
class TestNotFinite:
    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    def test_a_logit_that_is_not_finite_is_a_wrong_answer(self, tier, value):
        zeros = grey_images(*[0] * 8)
        assert accuracies(NotFinite(2.0), zeros, epsilon=0.1, tier=tier) == dict.fromkeys(NAMES, 1.0)
        assert accuracies(NotFinite(value), zeros, epsilon=0.1, tier=tier) == dict.fromkeys(NAMES, 0.0)

    def test_one_that_only_an_attack_reaches_is_wrong_under_it(self, tier):
        net = NotFinite(torch.nan, where=lambda images: images.amax((-3, -2, -1)) > 0)
        measured = accuracies(net, grey_images(*[0] * 8), epsilon=0.1, tier=tier)
        assert (measured["clean"], measured["pgd"], measured["robust"]) == (1.0, 0.0, 0.0)

    def test_a_gradient_that_is_nan_leaves_every_number_finite(self, tier):
        metrics = evaluate(NaNGradient(), grey_images(*[0, 255] * 4), epsilon=0.2, tier=tier)
        assert all(map(math.isfinite, metrics.values()))
        assert metrics[accuracy_of("robust", tier)] == 1.0
        assert metrics.get("zero_gradients", 1.0) == 1.0


@EVERY_TIER
class TestKnownAccuracies:
    @pytest.mark.parametrize("epsilon", [0.1, 0.3, 1.0])
    def test_a_constant_net_is_as_good_under_attack_as_without(self, tier, epsilon, digits):
        share = (digits.validation.labels == 3).double().mean().item()
        assert accuracies(Constant(), digits.validation, epsilon=epsilon, tier=tier) == dict.fromkeys(NAMES, share)

    def test_what_no_point_of_the_ball_fools_is_robust(self, tier):
        split = grey_images(*[0, 255] * 10)
        assert accuracies(Brightness(), split, epsilon=0.45, tier=tier) == dict.fromkeys(NAMES, 1.0)
        fallen = accuracies(Brightness(), split, epsilon=0.55, tier=tier)
        assert (fallen["clean"], fallen["robust"]) == (1.0, 0.0)

    def test_the_share_within_reach_falls(self, tier):
        # Brightness 0, 0.4, 0.6 and 1: the middle two are within 0.3 of the border, the last is wrong at once.
        split = grey_images(0, 102, 153, 255, 255)
        split.labels[-1] = 0
        assert accuracies(Brightness(), split, epsilon=0.3, tier=tier) == {
            **dict.fromkeys(NAMES, 0.4),
            "clean": 0.8,
        }


@EVERY_TIER
class TestAnyNet:
    def test_robust_is_at_most_every_other_accuracy(self, tier, trained, digits):
        found = accuracies(trained, digits.validation, epsilon=0.03, tier=tier)
        assert 0.1 < found["robust"] <= min(found.values())
        assert max(found.values()) == found["clean"] < 1

    def test_follows_from_its_arguments_alone(self, tier, trained, digits):
        settings = {"epsilon": 0.05, "tier": tier, "seed": 4}
        state = torch.random.get_rng_state()
        first = evaluate(trained, digits.validation, **settings)
        assert torch.equal(torch.random.get_rng_state(), state)
        torch.rand(1)
        assert evaluate(trained, digits.validation, **settings) == first

    @pytest.mark.parametrize("is_training", [True, False])
    def test_the_model_is_judged_in_evaluation_mode_and_left_as_it_was(self, tier, is_training):
        modes = []

        class Watching(Brightness):
            def forward(self, images):
                modes.append(self.training)
                return super().forward(images)

        model = Watching().train(is_training)
        evaluate(model, grey_images(0, 255), epsilon=0.1, tier=tier)
        assert set(modes) == {False}
        assert model.training is is_training

    def test_the_order_of_the_images_is_irrelevant_for_clean_accuracy(self, tier, trained, digits, monkeypatch):
        monkeypatch.setattr(masking, "IMAGES_AT_ONCE", 64)
        order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
        shuffled = Split(digits.validation.images[order], digits.validation.labels[order], MNIST)
        both = [accuracies(trained, split, epsilon=0.05, tier=tier) for split in (digits.validation, shuffled)]
        assert both[0]["clean"] == both[1]["clean"]

    def test_all_images_count_whatever_fits_at_once(self, tier, digits, monkeypatch):
        seen = []
        monkeypatch.setitem(ATTACKS, "look", lambda net, images, *_, rng: seen.append(len(images)) or images)
        monkeypatch.setitem(TIERS, tier, (*TIERS[tier], AttackRow("look", "look", "look")))
        monkeypatch.setattr(masking, "IMAGES_AT_ONCE", 64)
        evaluate(Constant(), digits.validation, epsilon=0.1, tier=tier)
        assert seen == [64, 64, 64, 8]

    def test_a_failing_net_is_left_in_its_mode(self, tier):
        class Failing(Brightness):
            def forward(self, images):
                raise RuntimeError("no")

        model = Failing()
        with pytest.raises(RuntimeError, match="no"):
            evaluate(model, grey_images(0), epsilon=0.1, tier=tier)
        assert model.training


@pytest.mark.parametrize("epsilon", [0.02, 0.04, 0.06])
def test_the_stronger_tier_finds_at_least_as_much_but_for_noise(trained, digits, epsilon):
    watch, rank = (accuracies(trained, digits.validation, epsilon=epsilon, tier=tier) for tier in ("watch", "rank"))
    assert rank["clean"] == watch["clean"]
    # Four images of 200: on a net that is nearly linear inside the ball, ten long steps do as well as forty short ones.
    assert rank["robust"] <= watch["robust"] + 0.01


def test_a_larger_epsilon_finds_more(trained, digits):
    robust = [
        evaluate(trained, digits.validation, epsilon=epsilon, tier="rank")["robust"]
        for epsilon in (0.001, 0.02, 0.04, 0.08, 0.3)
    ]
    assert robust == sorted(robust, reverse=True)
    assert (robust[0] > 0.8, robust[-1]) == (True, 0.0)


class TestWorstCase:
    @pytest.fixture
    def fooling(self, monkeypatch):
        """Return a tier of attacks that each turn some images around, and the labels that the last one was given."""
        given = []

        def at(*places):
            def run(net, images, labels, epsilon, rng):
                given.append(len(images))
                found = images.clone()
                found[list(places)] = 1 - found[list(places)]
                return found

            return run

        def build(*rows):
            for name, places, _ in rows:
                monkeypatch.setitem(ATTACKS, name, at(*places))
            table = [AttackRow(name, name, name, survivors_only=survivors) for name, _, survivors in rows]
            monkeypatch.setitem(TIERS, "toy", tuple(table))
            return given

        return build

    def test_an_image_must_withstand_every_attack(self, fooling):
        fooling(("first", (0, 1), False), ("second", (1, 2), False))
        accuracies = evaluate(Brightness(), grey_images(0, 255, 0, 255), epsilon=0.3, tier="toy")
        halves = {"clean": 1.0, "first": 0.5, "second": 0.5}
        assert accuracies == {**halves, "robust": 0.25}

    def test_an_attack_on_survivors_sees_only_them_and_has_no_accuracy(self, fooling):
        given = fooling(("first", (0, 1), False), ("last", (1,), True))
        accuracies = evaluate(Brightness(), grey_images(0, 255, 0, 255), epsilon=0.3, tier="toy")
        assert given == [4, 2]
        assert accuracies == {"clean": 1.0, "first": 0.5, "robust": 0.25}

    def test_no_survivor_is_no_work(self, fooling):
        given = fooling(("first", (0, 1), False), ("last", (0,), True))
        assert evaluate(Brightness(), grey_images(0, 255), epsilon=0.3, tier="toy")["robust"] == 0
        assert given == [2]

    def test_an_image_that_is_wrong_without_attack_is_not_robust(self, fooling):
        fooling(("mends", (0,), False))
        split = grey_images(0, 255)
        split.labels[0] = 1
        accuracies = evaluate(Brightness(), split, epsilon=0.3, tier="toy")
        assert accuracies == {"clean": 0.5, "mends": 1.0, "robust": 0.5}


def test_evaluating_restores_the_mode():
    model = nn.Dropout()
    with evaluating(model):
        assert not model.training
    assert model.training


def test_each_part_of_a_model_is_left_in_its_own_mode():
    frozen = nn.Dropout().eval()
    model = nn.Sequential(nn.Dropout(), frozen)
    with evaluating(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == [True, True, False]


@pytest.mark.parametrize("tier", ["watch", "rank"])
def test_the_shipped_rows_name_functions_and_losses_that_exist(tier):
    assert [attack.name for attack in attacks_of(tier)] == [row.name for row in TIERS[tier]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (AttackRow("new", "new", "fgms"), "attack 'new' must name one of fgsm, .*, not 'fgms'"),
        (
            AttackRow("new", "new", "pgd", {"steps": 1, "loss": "hinge"}),
            "loss of 'new' must be one of cross_entropy, .*, not 'hinge'",
        ),
    ],
)
def test_a_row_that_names_nothing_is_refused(row, message, monkeypatch):
    monkeypatch.setitem(TIERS, "rank", (*TIERS["rank"], row))
    with pytest.raises(ValueError, match=message):
        attacks_of("rank")


def test_two_attacks_of_one_name_cannot_run(monkeypatch):
    monkeypatch.setitem(TIERS, "rank", (*TIERS["rank"], *TIERS["rank"][:1]))
    with pytest.raises(ValueError, match=r"names of attacks must be unique, got fgsm, .*, fgsm"):
        evaluate(Constant(), grey_images(0), epsilon=0.1, tier="rank")
