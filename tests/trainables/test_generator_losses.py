"""What the generator minimises."""

import pytest
import torch
from torch.nn import functional

from trainables.config import GeneratorConfig
from trainables.generator_losses import GENERATOR_LOSSES, negative_cross_entropy, wrongness

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [-30.0, 30.0, 0.0]])
LABELS = torch.tensor([0, 1, 0])


def test_wrongness_loss_is_p_of_the_correct_label():
    expected = LOGITS.softmax(-1)[torch.arange(3), LABELS]
    torch.testing.assert_close(wrongness(LOGITS, LABELS), expected)
    assert wrongness(LOGITS, LABELS)[1] == pytest.approx(1 / 3)


def test_cross_entropy_loss_is_log_p_of_the_correct_label():
    expected = -functional.cross_entropy(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(negative_cross_entropy(LOGITS, LABELS), expected)


@pytest.mark.parametrize("name", GENERATOR_LOSSES)
class TestEveryLoss:
    def test_is_lower_where_the_classifier_is_more_wrong(self, name):
        confident, unsure, wrong = torch.eye(3)[0] * 5, torch.zeros(3), torch.eye(3)[1] * 5
        losses = GENERATOR_LOSSES[name](torch.stack([confident, unsure, wrong]), torch.tensor([0, 0, 0]))
        assert losses[0] > losses[1] > losses[2]

    @pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
    def test_is_one_number_per_example(self, name, leading):
        logits, labels = torch.zeros(*leading, 10), torch.zeros(leading, dtype=torch.int64)
        assert GENERATOR_LOSSES[name](logits, labels).shape == leading

    def test_is_a_choice_of_the_configuration(self, name):
        assert GeneratorConfig(loss=name).loss == name


def test_only_the_wrongness_loss_vanishes_where_the_classifier_is_confidently_wrong():
    def gradient_size(loss):
        logits = LOGITS[2].clone().requires_grad_()
        loss(logits, LABELS[2]).backward()
        return logits.grad.abs().max()

    assert gradient_size(wrongness) < 1e-20
    assert gradient_size(negative_cross_entropy) > 0.9
