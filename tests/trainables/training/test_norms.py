"""Every recipe and every tier in the L2 ball."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from tests.trainables.training.test_batch_normalisation import few_images
from trainables.attacks.norms import length
from trainables.common.tasks import CIFAR10
from trainables.config import CONFIGURATIONS, EvaluationConfig, parse
from trainables.errors import UserError
from trainables.evaluation.accuracy import evaluate
from trainables.judging.autoattack import autoattack_accuracy
from trainables.judging.final import AttackBudget, evaluate_final
from trainables.networks.classifiers import build_classifier
from trainables.training import registry

L2 = {"norm": "l2", "epsilon": 0.5, "watch_images": 3, "rank_images": 3, "fgsm_epsilons": [0.25]}


@pytest.mark.parametrize("trainable", CONFIGURATIONS)
def test_every_recipe_trains_in_the_ball(trainable, config_of):
    changes = {}
    if trainable == "gan":
        generator = {"width": 4, "recursions": 2, "random_start": True, "see_perturbation": True}
        changes = {"generator": {**generator, "perturbation_bound": 1.5}, "pretrain": 0.1}
    elif trainable != "standard":
        changes = {"attack": {"epsilon": 1.5}}
    loop = registry.build(config_of(trainable, compute=1.0, report_every=1.0, evaluation=L2, **changes), few_images())
    metrics = loop.step()
    assert 0 <= metrics["robust"] <= metrics["clean"] <= 1
    if trainable == "gan":
        images, labels = loop.dataset.train.batch(torch.arange(10))
        distance = length(loop.perturb(images, labels) - images)
        assert 0 < distance.max() <= loop.bound * (1 + 1e-5)


def test_the_attacks_of_a_tier_stay_in_the_ball_and_find_more_than_none(trained, digits):
    split = digits.validation.head(60)
    rank = evaluate(trained, split, epsilon=1.5, tier="rank", norm="l2")
    assert rank["robust"] <= rank["pgd"] < rank["clean"]
    other = evaluate(trained, split, epsilon=0.01, tier="rank", norm="l2")
    assert other["robust"] > rank["robust"]
    budget = AttackBudget(steps=5, restarts=1, queries=20)
    found = evaluate_final(
        trained,
        split,
        epsilon=1.5,
        training=digits.train.head(64),
        surrogates={"it": trained},
        budget=budget,
        norm="l2",
    )
    assert found["metrics"]["robust"] <= rank["pgd"]
    radii = [radius for radius, _ in found["accuracy_by_epsilon"]]
    assert radii[0] == 0
    assert radii[1] == pytest.approx(1.5 / 4)
    assert found["metrics"]["large_epsilon"] <= 0.2


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack_in_both_norms_with_few_classes(norm):
    dataset = few_images()
    net = build_classifier(parse({"trainable": "standard"}).classifier, dataset.task)
    with pytest.raises(UserError, match="AutoAttack needs 4 classes or more, and these images have 3"):
        autoattack_accuracy(net, dataset.test, 0.1, 0, norm)


class TestSettings:
    def test_the_usual_norm_leaves_settings_as_they_were(self):
        assert "norm" not in EvaluationConfig().model_dump()
        assert EvaluationConfig(norm="l2").model_dump()["norm"] == "l2"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"evaluation": {"epsilon": 8}}, r"less than or equal to 1, not 8: pixels .* did you mean 8/255\?"),
            ({"evaluation": {"epsilon": 300}}, "less than or equal to 1, not 300: pixels are from 0 to 1"),
            ({"attack": {"epsilon": 8}}, r"attack.epsilon must be less than or equal to 1, not 8: .* 8/255\?"),
            ({"evaluation": {"norm": "l2", "epsilon": 500}}, "less than or equal to 400"),
            ({"evaluation": {"norm": "l3"}}, "'linf' or 'l2'"),
            ({"evaluation": {"fgsm_epsilons": [4]}}, r"did you mean 4/255\?"),
        ],
    )
    def test_radii_that_a_norm_cannot_have(self, settings, message):
        with pytest.raises(ValidationError, match=message):
            parse({"trainable": "pgd", **settings})

    def test_no_two_images_are_so_far_apart_that_a_radius_is_too_small_to_say_it(self):
        assert 0.5 * math.sqrt(math.prod(CIFAR10.image_shape)) < 400
        assert parse({"trainable": "pgd", "evaluation": {"norm": "l2", "epsilon": 2}, "attack": {"epsilon": 3}})
