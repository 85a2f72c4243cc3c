"""The losses that attacks climb."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.conftest import rng_of
from trainables.attacks import LOSSES, cross_entropy, margin


class TestLosses:
    @given(st.lists(st.floats(-50, 50, width=32), min_size=10, max_size=10, unique=True), st.integers(0, 9))
    def test_the_margin_is_above_zero_where_the_label_has_lost(self, logits, label):
        value = margin(torch.tensor(logits), torch.tensor(label))
        others = [logit for index, logit in enumerate(logits) if index != label]
        assert value == pytest.approx(max(others) - logits[label], abs=1e-4)
        assert (value > 0) == (torch.tensor(logits).argmax() != label)

    @pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
    @pytest.mark.parametrize("shift", [-100.0, 100.0])
    def test_a_shift_of_all_logits_changes_nothing(self, loss, shift):
        logits, labels = torch.randn(4, 10, generator=rng_of()), torch.tensor([0, 3, 9, 3])
        torch.testing.assert_close(loss(logits + shift, labels), loss(logits, labels), rtol=0, atol=1e-4)

    @pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
    @pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
    def test_one_number_per_example_whatever_the_shape(self, loss, leading):
        logits, labels = torch.randn(*leading, 10, generator=rng_of()), torch.randint(10, leading, generator=rng_of())
        losses = loss(logits, labels)
        assert losses.shape == leading
        assert torch.equal(losses.reshape(-1), loss(logits.reshape(-1, 10), labels.reshape(-1)))

    def test_cross_entropy_is_minus_log_p(self):
        logits, labels = torch.randn(4, 10, generator=rng_of()), torch.tensor([0, 3, 9, 3])
        expected = -logits.softmax(-1)[torch.arange(4), labels].log()
        torch.testing.assert_close(cross_entropy(logits, labels), expected)
