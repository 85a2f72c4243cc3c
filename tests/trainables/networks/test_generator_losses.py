"""What the generator minimises."""

import pytest
import torch
from torch.nn import functional

from trainables.config import GeneratorConfig
from trainables.networks.generator_losses import (
    GENERATOR_LOSSES,
    TARGETED_LOSSES,
    correct_probability,
    log_wrongness,
    missed_target_probability,
    negative_cross_entropy,
    negative_margin,
)

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [-30.0, 30.0, 0.0]])
LABELS = torch.tensor([0, 1, 0])


def test_wrongness_loss_is_p_of_the_correct_label():
    expected = LOGITS.softmax(-1)[torch.arange(3), LABELS]
    torch.testing.assert_close(correct_probability(LOGITS, LABELS), expected)
    assert correct_probability(LOGITS, LABELS)[1] == pytest.approx(1 / 3)


def test_cross_entropy_loss_is_log_p_of_the_correct_label():
    expected = -functional.cross_entropy(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(negative_cross_entropy(LOGITS, LABELS), expected)


def test_log_wrongness_loss_is_minus_log_of_one_minus_p():
    expected = -(1 - correct_probability(LOGITS[:2], LABELS[:2])).log()
    torch.testing.assert_close(log_wrongness(LOGITS[:2], LABELS[:2]), expected)


@pytest.mark.parametrize("sure", [50.0, 1e4])
def test_log_wrongness_is_finite_where_p_rounds_to_one(sure):
    logits = (sure * torch.eye(10)[0]).requires_grad_()
    loss = log_wrongness(logits, torch.tensor(0))
    loss.backward()
    assert loss.item() == pytest.approx(sure - torch.tensor(9.0).log().item())
    assert logits.grad[0] == pytest.approx(1)
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-6)


def test_margin_loss_is_how_far_the_label_leads():
    assert negative_margin(LOGITS, LABELS).tolist() == [2.0, 0.0, -60.0]


def test_the_losses_with_a_target_fall_as_it_is_reached():
    assert list(TARGETED_LOSSES) == list(GENERATOR_LOSSES)
    reached, unsure, missed = torch.eye(3)[0] * 5, torch.zeros(3), torch.eye(3)[1] * 5
    for loss in TARGETED_LOSSES.values():
        values = loss(torch.stack([missed, unsure, reached]), torch.zeros(3, dtype=torch.int64))
        assert values[0] > values[1] > values[2]
    torch.testing.assert_close(missed_target_probability(LOGITS, LABELS), 1 - correct_probability(LOGITS, LABELS))


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

    assert gradient_size(correct_probability) < 1e-20
    assert gradient_size(negative_cross_entropy) > 0.9
