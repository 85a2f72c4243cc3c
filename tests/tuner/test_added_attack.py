"""What CONTRIBUTING promises: a row that is added to a tier is an objective, a constraint, a column and a metric."""

from __future__ import annotations

import io
from unittest.mock import patch

import pytest
import torch
from rich.console import Console

from search_spaces.configurations import parse_space
from search_spaces.errors import SpaceError
from tests.support.contributing import run_example
from tests.tuner.conftest import REAL, train_really
from trainables.evaluation.attack_table import ATTACKS
from trainables.evaluation.metrics import accuracies
from trainables.evaluation.tiers import TIERS, AttackRow
from tuner.results import compare
from tuner.results.frames import runs_frame
from tuner.results.pictures import figures
from tuner.results.terminal.comparison import comparison_table
from tuner.results.terminal.evaluation import rank_evaluation_table
from tuner.results.terminal.output import print_table
from tuner.search.ledger import Ledger
from tuner.sweep.evaluations import EvaluationResults
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics
from tuner.sweep.snapshot import read_snapshot
from tuner.tracking.server import EXPERIMENT, tracking_uri
from tuner.tracking.writer import MlflowWriter


def add_attack() -> None:
    """Do what CONTRIBUTING shows."""
    run_example("An attack", torch=torch, ATTACKS=ATTACKS, TIERS=TIERS, AttackRow=AttackRow)


with patch.dict(ATTACKS._set), patch.dict(TIERS):
    add_attack()
    ROW = TIERS["rank"][-1]
METRIC = ROW.name
SPACE = REAL.replace("epsilon: 0.2", "epsilon: 0.05").replace(
    "budget:", f"objective: {{metric: {METRIC}}}\nconstraints: {{{METRIC}: {{min: 1.0}}}}\nbudget:"
)


@pytest.fixture
def added():
    """The attack is there as long as a test runs."""
    with patch.dict(ATTACKS._set), patch.dict(TIERS):
        add_attack()
        yield


def parse(text):
    return parse_space(text, "real.yaml")


def test_without_the_row_nothing_knows_the_metric():
    assert METRIC not in [metric.name for metric in accuracies("all")]
    with pytest.raises(SpaceError) as refused:
        parse(SPACE)
    assert f"objective.metric: unknown metric '{METRIC}'" in str(refused.value)
    assert f"constraints.{METRIC}: unknown metric '{METRIC}'" in str(refused.value)


@pytest.mark.usefixtures("added")
class TestSpace:
    def test_the_metric_is_an_objective_and_a_constraint(self):
        space = parse(SPACE)
        assert [objective.metric for objective in space.objectives] == [METRIC]
        assert space.constraints[METRIC].min == 1.0

    def test_it_cannot_be_pruned_on_because_only_the_last_report_has_it(self):
        with pytest.raises(SpaceError, match=f"must be measured at every report, which '{METRIC}' is not"):
            parse(SPACE.replace("seed: 3", f"seed: 3, prune_on: {{metric: {METRIC}}}"))
        assert parse(SPACE).prune_on.metric == "watch/robust"

    def test_a_row_in_every_tier_can_be_pruned_on(self, monkeypatch):
        monkeypatch.setitem(TIERS, "watch", (*TIERS["watch"], ROW))
        assert parse(SPACE).prune_on.metric == f"watch/{METRIC}"
        named = SPACE.replace("seed: 3", f"seed: 3, prune_on: {{metric: watch/{METRIC}}}")
        assert parse(named).prune_on.metric == f"watch/{METRIC}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_sweep_searches_by_it_and_shows_it_everywhere(added, tmp_path, monkeypatch):
    sweep = SweepFolder.create("real", SPACE, "real.yaml", home=tmp_path)
    train_really(Ledger(sweep))
    records = {record.run.key: record for record in read_records(sweep)}
    trials = [record for record in records.values() if record.run.kind == "trial"]
    assert len(trials) == 2
    for trial in trials:
        assert trial.value == trial.metrics[METRIC]
        assert trial.metrics["robust"] <= trial.metrics[METRIC] <= trial.metrics["clean"]
        assert 0 < trial.metrics[METRIC] < 1
        assert trial.outcome == "infeasible"  # of the constraint: no check for masking failed
        assert [METRIC in row for row in read_metrics(trial.run)] == [False, True]

    columns = by_heading(comparison_table(read_snapshot(sweep)))
    assert list(columns)[3:8] == ["clean", "FGSM", "PGD", ROW.label, "robust"]
    cells = columns[ROW.label]
    assert cells == [f"{100 * record.metrics[METRIC]:.1f}" for record in compare.rank_runs(read_snapshot(sweep))]
    assert runs_frame(list(records.values()))[METRIC].notna().all()
    drawn = figures.training("", read_metrics(trials[0].run), None).axes[0]
    assert ROW.label in [line.get_label() for line in drawn.get_lines()]

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged = mlflow_metrics(sweep, list(records.values()))
    assert {key: metrics[f"accuracy/{METRIC}"] for key, metrics in logged.items()} == {
        key: record.metrics[METRIC] for key, record in records.items()
    }


def test_a_bundle_of_before_is_evaluated_beside_its_recorded_metrics(added):
    recorded = {metric.name: 0.25 for metric in accuracies("all") if metric.name != METRIC}
    now = EvaluationResults(dataset="digits", split="test", images=100, epsilon=0.2, metrics={**recorded, METRIC: 0.5})
    before = now.model_copy(update={"split": "validation", "metrics": recorded})
    table = rank_evaluation_table("bundle", {"recorded": before, "test": now})
    columns = by_heading(table)
    assert list(columns) == ["split", "images", "clean", "fgsm", "rfgsm", "pgd", ROW.name, "robust", "masking"]
    assert columns[ROW.name] == ["-", "50.00"]
    assert columns["pgd"] == ["25.00", "25.00"]


def by_heading(table):
    """Return the cells of each column of a table by its heading."""
    return {column.heading: [column.cell(row.values) for row in table.rows] for column in table.columns}


def mlflow_metrics(sweep, records):
    """Write runs to the sweep's MLflow and return their metrics as it gives them back."""
    from mlflow.tracking import MlflowClient

    writer = MlflowWriter(sweep)
    for record in records:
        writer.write(record)
    client = MlflowClient(tracking_uri(sweep.folder.parent))
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    return {run.data.tags["tuner.run"]: run.data.metrics for run in runs if run.data.tags["tuner.run"] != "sweep"}


def test_a_sweep_of_before_is_shown_with_a_gap(trained_sweep, monkeypatch):
    """Runs that were measured before the row was added have no value of it."""
    before = by_heading(comparison_table(read_snapshot(trained_sweep)))
    monkeypatch.setitem(TIERS, "rank", (*TIERS["rank"], ROW))
    table = comparison_table(read_snapshot(trained_sweep))
    columns = by_heading(table)
    assert columns.pop(ROW.label) == ["-"] * 4
    assert columns == before
    print_table(table, Console(file=io.StringIO()))
