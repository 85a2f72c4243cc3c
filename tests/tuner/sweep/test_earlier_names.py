"""A sweep whose files have the metrics' earlier names: one name for what is measured in training and at the end.

It has complete trials, pruned ones, one that had not ended, a constraint, ``prune_on`` and a confirmation.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from search_spaces.configurations import parse_space
from tests.tuner.conftest import row
from trainables.evaluation.earlier_names import rename_reports, rename_results
from tuner.results.compare import comparison_sentences, rank_runs
from tuner.results.frames import runs_frame
from tuner.results.terminal.comparison import comparison_table
from tuner.results.terminal.confirmation import configurations_table, confirmation_sentences
from tuner.search.ledger import Ledger
from tuner.search.replay import read_pruner, replay_trials
from tuner.search.warm_start import collect_observations
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import read_metrics
from tuner.sweep.snapshot import read_snapshot
from tuner.tracking.server import EXPERIMENT, tracking_uri
from tuner.tracking.writer import MlflowWriter

SAVED = Path(__file__).parents[2] / "fixtures" / "sweep-earlier-names.tar.xz"
ACCURACIES = ["clean", "fgsm", "rfgsm", "pgd", "robust"]


def cells_of(table):
    """Return the cells of each column of a table by its heading."""
    return {column.heading: [column.cell(row.values) for row in table.rows] for column in table.columns}


@pytest.fixture
def saved(tmp_path) -> SweepFolder:
    with tarfile.open(SAVED) as archive:
        archive.extractall(tmp_path, filter="data")
    return SweepFolder.open("saved", home=tmp_path)


def test_every_file_has_the_earlier_names(saved):
    files = ["space.yaml", "study.journal", "confirm.json", "trials/0002/metrics.jsonl"]
    assert all("clean_accuracy" in (saved.folder / name).read_text() for name in files)


def test_its_space_has_the_present_names_and_was_not_edited(saved):
    space = saved.space
    assert (space.objective.metric, space.prune_on.metric, list(space.constraints)) == (
        "robust",
        "watch/robust",
        ["clean"],
    )
    assert saved.edited_keys == ()
    saved.check_space()


def test_what_was_measured_in_training_and_at_the_end_are_told_apart(saved):
    snapshot = read_snapshot(saved, with_rows=True)
    snapshot.require_whole()
    assert sum(record.state == "pruned" for record in snapshot.records) == 3
    for record in snapshot.records:
        rows = snapshot.rows[record.run.key]
        for report in rows:
            is_end = record.state == "complete" and report is rows[-1]
            assert [name for name in report if name in ACCURACIES] == (ACCURACIES if is_end else [])
            watched = [name for name in report if name.startswith("watch/")]
            generator = ["watch/generator"] if record.run.kind == "trial" else []
            assert watched == ([] if is_end else [f"watch/{name}" for name in ACCURACIES]) + generator
            assert not any(name.endswith("_accuracy") for name in report)
        assert record.value == record.metrics.get("robust")


def test_complete_and_pruned_runs_stand_in_two_columns(saved):
    snapshot = read_snapshot(saved)
    ranked = rank_runs(snapshot)
    table = cells_of(comparison_table(snapshot))
    for record, robust, watched in zip(ranked, table["robust"], table["watch robust"], strict=True):
        assert (robust == "-") is (record.state != "complete")
        assert (watched == "-") is (record.state == "complete")
    partial = [record.metrics["watch/robust"] for record in ranked if record.state != "complete"]
    assert partial == sorted(partial, reverse=True)
    assert any("points of robust accuracy" in line for line in comparison_sentences(snapshot))
    frame = runs_frame(ranked)
    assert list(frame["robust"].isna()) == [record.state != "complete" for record in ranked]
    assert list(frame["watch/robust"].isna()) == [record.state == "complete" for record in ranked]


def test_it_goes_on_and_both_names_stand_in_one_file(saved):
    ledger = Ledger(saved)
    run = ledger.next_run()
    assert (run.key, ledger.records[run.key].state) == ("trial-0005", "running")
    for step in (2, 3):
        assert ledger.report(run.key, {**row(2, 0.9), "step": step, "compute": 0.5 * step})
    ledger.complete(run.key, row(4, 0.8, compute=2.0))
    assert [{"watch/robust", "robust"} & set(report) for report in read_metrics(run)] == [
        *[{"watch/robust"}] * 3,
        {"watch/robust", "robust"},
    ]
    snapshot = read_snapshot(saved, with_rows=True)
    snapshot.require_whole()
    assert (snapshot.best.run.key, snapshot.best.value) == ("trial-0005", 0.8)


def test_a_report_that_was_changed_is_noticed(saved):
    path = saved.folder / "trials" / "0002" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["robust_accuracy"] = 0.99
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "crc"}) + "\n" for line in lines))
    assert "robust is 0.99 in the end" in read_snapshot(saved).damaged["trial-0002"]


def test_its_confirmation_is_shown(saved):
    confirmation = read_snapshot(saved).confirmation
    winner = next(each for each in confirmation.configurations if each.name == confirmation.winner)
    assert (confirmation.metric, confirmation.test_metric) == ("robust", "robust")
    assert set(ACCURACIES) <= set(winner.test)
    assert winner.runs[0].test.metrics["robust"] == pytest.approx(0.47)
    assert "% robust accuracy on 100 test images" in " ".join(confirmation_sentences(confirmation))
    table = cells_of(configurations_table(confirmation))
    assert "-" not in table["robust"]


def test_it_is_replayed_and_starts_other_searches(saved):
    replayed = replay_trials(read_snapshot(saved, with_rows=True), read_pruner("none"))
    assert (replayed.metric, replayed.complete, replayed.complete_pruned) == ("robust", 2, 0)
    observations, _ = collect_observations(saved.space, [saved])
    assert [sorted(each.reports) for each in observations if each.values] == [[1, 2, 3]] * 2
    assert all(list(each.violations) == ["clean min", "masking"] for each in observations if each.values)


def test_a_space_with_earlier_names_is_read_as_one_with_the_present_names(saved):
    text = saved.folder.joinpath("space.yaml").read_text()
    present = text.replace("prune_on: {metric: robust_accuracy}", "prune_on: {metric: watch/robust}")
    assert parse_space(text, "") == parse_space(present.replace("_accuracy", ""), "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_gets_the_present_names_also_of_what_it_had_by_the_earlier_ones(saved, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    snapshot = read_snapshot(saved, with_rows=True)
    record = next(record for record in snapshot.records if record.run.key == "trial-0002")
    writer = MlflowWriter(saved)
    writer.write(record)
    client = MlflowClient(tracking_uri(saved.folder.parent))
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id

    def mirrored():
        return next(run for run in client.search_runs([experiment]) if run.data.tags["tuner.run"] == "trial-0002")

    metrics = mirrored().data.metrics
    assert metrics["accuracy/robust"] == record.value
    history = [metric.value for metric in client.get_metric_history(mirrored().info.run_id, "watch/robust")]
    assert history == [report["watch/robust"] for report in snapshot.rows["trial-0002"][:-1]]
    assert not any(name.endswith("_accuracy") for name in metrics)


class TestRenaming:
    def test_present_names_are_left_alone(self):
        reports = [row(1), row(3)]
        assert rename_reports(reports, 3.0) == reports
        assert rename_results(reports[1]) == reports[1]

    def test_the_compute_says_which_report_is_the_last(self):
        reports = [{"robust_accuracy": 0.5, "compute": compute} for compute in (1.0, 2.9, 3.0)]
        assert [next(iter(report)) for report in rename_reports(reports, 3.0)] == ["watch/robust"] * 2 + ["robust"]

    def test_an_attack_of_another_release_keeps_its_name(self):
        assert rename_results({"transfer_pgd_accuracy": 0.5, "white_box_accuracy": 0.4}) == {
            "transfer_pgd_accuracy": 0.5,
            "white_box": 0.4,
        }
