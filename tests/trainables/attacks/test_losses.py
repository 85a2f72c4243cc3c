"""The losses that attacks climb."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.conftest import rng_of
from trainables.attacks.losses import LOSSES, cross_entropy, dlr, margin, targeted_dlr

LOGITS = st.lists(st.integers(-1000, 1000).map(lambda tenths: tenths / 10), min_size=10, max_size=10, unique=True)


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

    @given(LOGITS, st.integers(0, 9), st.integers(1, 9), st.floats(0.01, 100), st.floats(-10, 10))
    def test_no_scale_and_no_shift_changes_the_ratios(self, logits, label, offset, scale, shift):
        logits, label, target = torch.tensor(logits).double(), torch.tensor(label), torch.tensor((label + offset) % 10)
        other = scale * logits + shift
        torch.testing.assert_close(dlr(other, label), dlr(logits, label), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            targeted_dlr(other, label, target), targeted_dlr(logits, label, target), rtol=1e-4, atol=1e-6
        )

    @given(LOGITS, st.integers(0, 9))
    def test_the_ratio_has_the_sign_of_the_margin(self, logits, label):
        logits, label = torch.tensor(logits).double(), torch.tensor(label)
        assert dlr(logits, label).sign() == margin(logits, label).sign()
        assert dlr(logits, label) >= -1

    def test_the_ratios_of_known_logits(self):
        logits, label = torch.tensor([5.0, 1.0, 4.0, 3.0, 0.0]), torch.tensor(0)
        assert dlr(logits, label) == pytest.approx((4 - 5) / (5 - 3))
        assert dlr(logits, torch.tensor(1)) == pytest.approx((5 - 1) / (5 - 3))
        assert targeted_dlr(logits, label, torch.tensor(3)) == pytest.approx((3 - 5) / (5 - (3 + 1) / 2))

    def test_equal_logits_are_no_division_by_zero(self):
        logits = torch.zeros(10, requires_grad=True)
        losses = dlr(logits, torch.tensor(3)) + targeted_dlr(logits, torch.tensor(3), torch.tensor(4))
        (gradient,) = torch.autograd.grad(losses, logits)
        assert losses == 0
        assert gradient.isfinite().all()
