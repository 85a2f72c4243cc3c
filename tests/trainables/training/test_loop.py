"""Training loops: what holds for every recipe, beyond what `trainables.testing` asks of it."""

import math

import pytest
import torch

from tests.support.loops import finish, tensors_of
from trainables.config import CONFIGURATIONS
from trainables.training import registry
from trainables.training.loop import DivergedError, LossMean


def cost_of_a_minibatch(loop):
    """Return the compute that no minibatch so far has passed."""
    costs = loop.meter.state()["flops_per_image"].values()
    epoch = loop.meter.state()["flops"] / loop.meter.compute
    return sum(costs) * loop.config.batch_size / epoch


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

    def test_metrics(self, trainable, loop_of):
        reports = finish(loop_of(trainable))
        for report in reports:
            names = {"clean", "fgsm", "rfgsm", "pgd", "robust"}
            watched = {f"watch/{name}" for name in names} | ({"watch/generator"} if trainable == "gan" else set())
            at_the_end = names | {"large_epsilon"} if report is reports[-1] else set()
            assert {name for name in report if name.startswith("watch/")} == watched
            assert set(report) & (names | {"large_epsilon"}) == at_the_end
            assert all(0 <= report[name] <= 1 for name in watched | at_the_end)
            assert {"step", "compute", "train_s", "evaluation_s"} < set(report)
            assert all(math.isfinite(value) for value in report.values())
            assert ("masking_failures" in report) is (report is reports[-1])

    def test_further_radii_are_measured_at_every_report(self, trainable, loop_of):
        report = loop_of(trainable, evaluation={"watch_images": 50, "fgsm_epsilons": (0.05, 0.3)}).step()
        assert report["watch/fgsm_at_0.3"] == report["watch/fgsm"]
        assert report["watch/fgsm_at_0.05"] >= report["watch/fgsm"]

    def test_watched_at_every_report_and_ranked_at_the_last(self, trainable, loop_of):
        loop = loop_of(trainable)
        tiers = []
        measure = loop.measure
        loop.measure = lambda tier: tiers.append(tier) or measure(tier)
        finish(loop)
        assert tiers == ["watch"] * 4 + ["rank"]

    def test_the_tiers_see_their_number_of_validation_images(self, trainable, loop_of):
        loop = loop_of(trainable)
        shares = [loop.evaluate("watch")["watch/clean"] * 20, loop.evaluate("rank")["clean"] * 30]
        assert shares == [pytest.approx(round(share)) for share in shares]

    def test_a_loss_that_is_no_number_is_an_error(self, trainable, loop_of):
        loop = loop_of(trainable, classifier={"architecture": "mlp", "learning_rate": 1e12})
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
        assert reports[-1]["clean"] > 0.25  # chance is 0.1
        assert reports[-1]["train_s"] > reports[0]["train_s"] > 0
        assert reports[-1]["evaluation_s"] > reports[0]["evaluation_s"] > 0

    def test_the_device_of_the_dataset_is_the_device_of_the_run(self, trainable, loop_of):
        loop = loop_of(trainable)
        assert {tensor.device for tensor in tensors_of(loop.state())} == {loop.dataset.train.images.device}


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
