"""What an adversary achieves, as a table and as rates."""

import pytest
import torch

from trainables.common.tasks import MNIST
from trainables.config import GeneratorConfig
from trainables.training.generator import Adversary
from trainables.training.success import saturation, success_counts, success_matrix, success_rates


@pytest.fixture(scope="module")
def adversary(trained, digits):
    """A generator that was trained to force the label 3 a little."""
    adversary = Adversary(
        GeneratorConfig(width=8, learning_rate=5e-3, goal="targeted", target=3, random_start=True), MNIST, seed=0
    )
    stream = torch.Generator().manual_seed(0)
    for _ in range(60):
        adversary.update(trained, *digits.train.batch(torch.arange(128)), 0.3, stream)
    return adversary


@pytest.fixture(scope="module")
def counts(trained, adversary, digits):
    return success_counts(trained, adversary, digits.test.head(100), 0.3)


def test_every_image_stands_in_the_row_of_its_class(counts, digits):
    assert torch.equal(counts.sum(1), digits.test.labels[:100].bincount(minlength=10))


def test_columns_are_what_the_classifier_says(trained, adversary, digits):
    """Within a bound of nothing a generator does nothing."""
    images, labels = digits.test.batch(torch.arange(100))
    expected = torch.zeros(10, 10, dtype=torch.int64)
    for label, predicted in zip(labels.tolist(), trained(images).argmax(-1).tolist(), strict=True):
        expected[label, predicted] += 1
    assert torch.equal(success_counts(trained, adversary, digits.test.head(100), 0.0), expected)


def test_the_matrix_is_rates_by_row(trained, adversary, digits, counts):
    matrix = success_matrix(trained, adversary, digits.test.head(100), 0.3)
    torch.testing.assert_close(matrix.sum(1), torch.ones(10))
    torch.testing.assert_close(matrix * counts.sum(1, keepdim=True), counts.float())
    # What it was trained for.
    assert matrix[:, 3].mean() > 0.5


def test_a_class_without_images_has_a_row_of_zeros(trained, adversary, digits):
    only = success_matrix(trained, adversary, digits.test.head(1), 0.3)
    assert only.sum() == 1
    assert only.isfinite().all()


def test_follows_from_the_seed_and_leaves_the_classifier_in_its_mode(trained, adversary, digits):
    split = digits.test.head(100)
    one, same, other = (success_counts(trained, adversary, split, 0.1, seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not trained.training


class TestRates:
    COUNTS = torch.tensor([[6, 1, 3], [0, 8, 2], [0, 0, 5]])

    @pytest.mark.parametrize(
        ("source", "target", "success"), [(None, None, None), (None, 2, 5 / 20), (0, 2, 3 / 10), (1, 0, 0.0)]
    )
    def test_are_shares_of_the_images_aimed_at(self, source, target, success):
        rates = success_rates(self.COUNTS, source, target)
        assert rates.pop("watch/generator") == pytest.approx(19 / 25)
        assert rates == ({} if success is None else {"watch/generator_success": pytest.approx(success)})

    def test_no_image_to_succeed_on_is_no_rate(self):
        assert "watch/generator_success" not in success_rates(torch.diag(torch.tensor([0, 3, 4])), 0, 2)


class TestSaturation:
    def test_is_what_the_generator_puts_out_before_its_tanh(self, trained, adversary, digits):
        found = saturation(trained, adversary, digits.test.head(30), 0.3)
        assert found == saturation(trained, adversary, digits.test.head(30), 0.3)
        assert 0 < found["generator/saturation"] < 1
        assert found["generator/pre_activation"] > 0

    @pytest.mark.parametrize(("scale", "share"), [(1e-6, 0.0), (1e6, 1.0), (float("nan"), 1.0)])
    def test_follows_the_scale(self, trained, digits, scale, share):
        adversary = Adversary(GeneratorConfig(width=4), MNIST, seed=0)
        with torch.no_grad():
            adversary.generator.scale.fill_(scale)
        found = saturation(trained, adversary, digits.test.head(30), 0.3)
        assert found["generator/saturation"] == pytest.approx(share, abs=0.01)
        assert ("generator/pre_activation" in found) is (scale == scale)

    def test_no_image_to_perturb_is_no_saturation(self, trained, digits):
        only = digits.test.head(1)
        other = (int(only.labels[0]) + 1) % 10
        settings = GeneratorConfig(width=4, goal="source_to_target", source=other, target=(other + 1) % 10)
        assert saturation(trained, Adversary(settings, MNIST, seed=0), only, 0.3) == {}


@pytest.mark.parametrize(
    ("goal", "names"),
    [
        ({}, {"watch/generator"}),
        ({"goal": "targeted", "target": 1}, {"watch/generator", "watch/generator_success"}),
        ({"goal": "source_to_target", "source": 0, "target": 1}, {"watch/generator", "watch/generator_success"}),
    ],
)
def test_a_report_has_the_rates_and_the_cycles_so_far(loop_of, goal, names):
    loop = loop_of("gan", generator={"width": 4, **goal})
    reports = [loop.step(), loop.step()]
    for report in reports:
        assert {name for name in report if name.startswith("watch/generator")} == names
    assert 0 < reports[0]["cycle"] < reports[1]["cycle"] == loop.turns.cycles
    counts = success_counts(
        loop.classifier, loop.adversary, loop.dataset.validation.head(20), loop.bound, loop.config.seed
    )
    assert reports[1]["watch/generator"] == pytest.approx(counts.diagonal().sum().item() / 20)
