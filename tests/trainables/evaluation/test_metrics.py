"""The table of metrics: what follows from the tiers, and that every number that a loop reports is in it."""

import importlib
import subprocess
import sys

import pytest

from trainables.evaluation import metrics
from trainables.evaluation.metrics import accuracies, all_metrics, metric_named
from trainables.evaluation.tiers import TIERS, AttackRow
from trainables.training import registry

SHIPPED = ["clean_accuracy", "fgsm_accuracy", "rfgsm_accuracy", "pgd_accuracy", "robust_accuracy"]


def names(rows):
    return [metric.name for metric in rows]


@pytest.fixture
def add(monkeypatch):
    """Return a function that adds a row to tiers for as long as the test runs."""

    def build(row, *tiers):
        for tier in tiers:
            monkeypatch.setitem(TIERS, tier, (*TIERS[tier], row))

    return build


class TestShipped:
    def test_columns_are_as_they_were(self):
        assert [metric.label for metric in accuracies("overview")] == ["clean", "FGSM", "robust"]
        assert [metric.label for metric in accuracies("comparison")] == ["clean", "FGSM", "PGD", "robust"]
        assert names(accuracies("all")) == SHIPPED

    def test_what_spaces_may_name(self):
        assert names(metrics.objectives()) == [*SHIPPED, "compute"]
        assert names(metrics.constraints()) == names(metrics.reported_constraints()) == SHIPPED

    def test_an_objective_has_a_better_direction(self):
        assert {metric.name: metric.better for metric in metrics.objectives()} == {
            **dict.fromkeys(SHIPPED, "max"),
            "compute": "min",
        }

    @pytest.mark.parametrize("trainable", registry.LOOPS)
    def test_every_number_that_a_loop_reports_is_in_the_table(self, trainable, config_of, digits):
        settings = {"epsilon": 0.05, "watch_images": 10, "rank_images": 10}
        loop = registry.build(config_of(trainable, evaluation=settings, compute=1.0, report_every=0.5), digits)
        reports = []
        while not loop.done:
            reports.append(loop.step())
        table = all_metrics()
        assert {name for report in reports for name in report} <= set(table)
        at_every_report = set.intersection(*map(set, reports))
        assert set(names(metrics.reported_constraints())) <= at_every_report
        assert set(names(metrics.objectives())) <= set(reports[-1])
        assert not [name for name in reports[0] if not table[name].every_report]


class TestAdded:
    def test_a_row_of_rank_is_a_column_before_the_worst_case(self, add):
        add(AttackRow("new", "New", "fgsm"), "rank")
        assert [metric.label for metric in accuracies("comparison")] == ["clean", "FGSM", "PGD", "New", "robust"]
        assert [metric.label for metric in accuracies("overview")] == ["clean", "FGSM", "robust"]
        assert "new_accuracy" in names(metrics.objectives())
        assert "new_accuracy" in names(metrics.constraints())
        assert "new_accuracy" not in names(metrics.reported_constraints())

    def test_a_row_of_every_tier_is_reported(self, add):
        add(AttackRow("new", "New", "fgsm", shown_in="overview"), "rank", "watch")
        assert "new_accuracy" in names(metrics.reported_constraints())
        assert [metric.label for metric in accuracies("overview")] == ["clean", "FGSM", "New", "robust"]

    def test_a_row_of_watch_alone_is_no_objective(self, add):
        add(AttackRow("new", "New", "fgsm"), "watch")
        assert "new_accuracy" in names(accuracies("comparison"))
        assert "new_accuracy" not in names(metrics.objectives())

    def test_an_attack_on_survivors_has_no_metric(self, add):
        add(AttackRow("new", "New", "fgsm", survivors_only=True), "rank")
        assert "new_accuracy" not in all_metrics()

    @pytest.mark.parametrize("name", ["robust", "clean", "generator", "large_epsilon"])
    def test_the_name_of_another_metric_is_an_error_at_import(self, name, add, monkeypatch):
        add(AttackRow(name, "again", "fgsm"), "rank")
        # The module is executed once more, and put back as it was.
        for attribute, value in vars(metrics).copy().items():
            monkeypatch.setitem(vars(metrics), attribute, value)
        with pytest.raises(ValueError, match=f"'{name}_accuracy' names both '.*' and '.*'"):
            importlib.reload(metrics)

    def test_a_repeated_name_is_found_whenever_the_table_is_asked(self, add):
        add(AttackRow("pgd", "again", "fgsm"), "rank")
        with pytest.raises(ValueError, match="'rank' has 2 rows named 'pgd'"):
            all_metrics()


class TestMetricNamed:
    def test_a_known_one_is_that_of_the_table(self):
        assert metric_named("compute") == all_metrics()["compute"]

    def test_an_attack_of_another_release_is_an_accuracy(self):
        metric = metric_named("transfer_pgd_accuracy")
        assert (metric.label, metric.is_share, metric.better) == ("transfer pgd", True, "max")

    def test_whatever_else_has_no_unit(self):
        assert not metric_named("temperature").is_share


def test_the_table_needs_no_torch():
    code = "import sys; import trainables.evaluation.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
