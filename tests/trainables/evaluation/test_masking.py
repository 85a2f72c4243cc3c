"""Masking: nets that are known to mask and nets that do not."""

import pytest
import torch
from torch import nn

from trainables.evaluation import masking
from trainables.evaluation.accuracy import evaluate
from trainables.training import registry


class Linear(nn.Module):
    """With two classes the gradient has the same direction everywhere."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(784, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        logit = 0.05 * (images.flatten(1) @ self.weight).unsqueeze(1)
        return torch.cat([logit, -logit], 1)


class Stairs(Linear):
    """The same on rounded images: flat almost everywhere."""

    def forward(self, images):
        return super().forward((10 * images).round() / 10 + 0.0 * images)


class TestGradientSigns:
    @pytest.fixture
    def images(self):
        return torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(1))

    def test_a_linear_net_has_the_same_gradient_in_the_whole_ball(self, images):
        cosine, is_zero = masking.gradient_signs(Linear(), images, torch.zeros(20).long(), 0.3, torch.Generator())
        assert cosine.shape == is_zero.shape == (20,)
        assert torch.allclose(cosine, torch.ones(20))
        assert not is_zero.any()

    def test_a_net_that_rounds_has_none(self, images):
        cosine, is_zero = masking.gradient_signs(Stairs(), images, torch.zeros(20).long(), 0.3, torch.Generator())
        assert is_zero.all()
        assert not cosine.any()

    def test_a_confident_net_has_small_gradients_and_not_none(self, images):
        confident = nn.Sequential(nn.Flatten(), nn.Linear(784, 2, bias=False))
        with torch.no_grad():
            confident[1].weight.copy_(torch.stack([torch.full((784,), 0.1), torch.full((784,), -0.1)]))
        cosine, is_zero = masking.gradient_signs(confident, images, torch.zeros(20).long(), 0.01, torch.Generator())
        assert not is_zero.any()
        assert torch.allclose(cosine, torch.ones(20))


class TestCheckMasking:
    def test_standard_training_masks_nothing(self, trained, digits):
        metrics = evaluate(trained, digits.validation, epsilon=0.05, tier="rank")
        assert metrics["masking_failures"] == 0
        assert metrics["gradient_cosine"] > 0.5

    def test_fgsm_retraining_bends_its_loss_around_the_images(self, config_of, digits):
        classifier = {"architecture": "small_cnn", "learning_rate": 3e-3}
        changes = {"compute": 15.0, "report_every": 15.0, "classifier": classifier, "clean_weight": 0.5}
        settings = {"epsilon": 0.3, "watch_images": 20, "rank_images": 200}
        report = registry.build(config_of("fgsm_retraining", evaluation=settings, **changes), digits).step()
        assert report["masking_gradient_cosine"] == 1.0
        assert report["gradient_cosine"] < 0.2
        assert report["masking_failures"] >= 1

    def test_a_constant_net_is_no_robust_one(self, digits):
        class Constant(nn.Module):
            def forward(self, images):
                return 0.0 * images.flatten(1).sum(1, keepdim=True) + torch.eye(10)[3]

        metrics = evaluate(Constant(), digits.validation, epsilon=0.1, tier="rank")
        assert metrics["zero_gradients"] == metrics["masking_zero_gradients"] == 1.0
        assert metrics["gradient_cosine"] == 0.0
