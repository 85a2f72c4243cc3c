"""The table of metrics: what follows from the tiers, and that every number that a loop reports is in it."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from trainables.evaluation import metrics
from trainables.evaluation.metrics import accuracies, all_metrics, metric_named, watched_accuracies
from trainables.evaluation.tiers import TIERS, AttackRow
from trainables.training import registry

SHIPPED = ["clean", "fgsm", "rfgsm", "pgd", "robust"]


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
        assert names(metrics.constraints()) == SHIPPED
        assert names(watched_accuracies("all")) == [f"watch/{name}" for name in SHIPPED]

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
        assert set(names(watched_accuracies("all"))) <= at_every_report
        assert set(names(metrics.objectives())) <= set(reports[-1])
        assert set(names(accuracies("all"))).isdisjoint(reports[0])
        assert not [name for name in reports[0] if not table[name].every_report]


class TestAdded:
    def test_a_row_of_rank_is_a_column_before_the_worst_case(self, add):
        add(AttackRow("new", "New", "fgsm"), "rank")
        assert [metric.label for metric in accuracies("comparison")] == ["clean", "FGSM", "PGD", "New", "robust"]
        assert [metric.label for metric in accuracies("overview")] == ["clean", "FGSM", "robust"]
        assert "new" in names(metrics.objectives())
        assert "new" in names(metrics.constraints())
        assert "watch/new" not in names(watched_accuracies("all"))

    def test_a_row_of_every_tier_is_reported(self, add):
        add(AttackRow("new", "New", "fgsm", shown_in="overview"), "rank", "watch")
        assert "watch/new" in names(watched_accuracies("all"))
        assert [metric.label for metric in accuracies("overview")] == ["clean", "FGSM", "New", "robust"]
        assert [metric.label for metric in watched_accuracies("overview")] == [
            "watch clean",
            "watch FGSM",
            "watch New",
            "watch robust",
        ]

    def test_a_row_of_watch_alone_is_no_objective(self, add):
        add(AttackRow("new", "New", "fgsm"), "watch")
        assert "watch/new" in names(watched_accuracies("comparison"))
        assert "new" not in names(accuracies("all"))
        assert "new" not in names(metrics.objectives())

    def test_an_attack_on_survivors_has_no_metric(self, add):
        add(AttackRow("new", "New", "fgsm", survivors_only=True), "rank")
        assert "new" not in all_metrics()

    @pytest.mark.parametrize("name", ["robust", "clean", "compute", "large_epsilon"])
    def test_the_name_of_another_metric_is_an_error_at_import(self, name, add, monkeypatch):
        add(AttackRow(name, "again", "fgsm"), "rank")
        # The module is executed once more, and put back as it was.
        for attribute, value in vars(metrics).copy().items():
            monkeypatch.setitem(vars(metrics), attribute, value)
        with pytest.raises(ValueError, match=f"'{name}' names both '.*' and '.*'"):
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

    def test_what_every_report_has_is_an_accuracy_by_its_name(self):
        metric = metric_named("watch/transfer_pgd")
        assert (metric.label, metric.is_share, metric.group) == ("watch transfer pgd", True, "watch")

    def test_whatever_else_has_no_unit(self):
        assert not metric_named("temperature").is_share


class TestMlflow:
    def test_every_metric_has_a_name_of_its_own_in_a_group(self):
        names = metrics.mlflow_names([*all_metrics(), "another"])
        assert len(set(names.values())) == len(names)
        assert {name.split("/")[0] for name in names.values()} == set(get_args(metrics.Group))
        assert all(name.count("/") == 1 for name in names.values())

    def test_names(self):
        reported = ["watch/robust", "robust", "classifier_loss", "masking_failures", "masking_gradient_cosine", "step"]
        assert list(metrics.mlflow_names(reported).values()) == [
            "watch/robust",
            "accuracy/robust",
            "loss/classifier",
            "masking/failures",
            "masking/failed_gradient_cosine",
            "progress/step",
        ]


def test_the_table_needs_no_torch():
    code = "import sys; import trainables.evaluation.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_reference_lists_every_metric():
    lines = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text().splitlines()
    listed = [line.split("|")[1:6] for line in lines if line.startswith("| `")]
    assert [[cell.strip() for cell in row] for row in listed] == [
        [
            f"`{metric.name}`",
            f"`{metric.mlflow_name}`",
            f"{metric.words}, {metric.note}" if metric.note else metric.words,
            metric.unit,
            "every report" if metric.every_report else "the end",
        ]
        for metric in all_metrics().values()
    ]
