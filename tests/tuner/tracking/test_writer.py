"""The mirror against a real MLflow database: complete, nested, never doubled, and never in the way."""

from __future__ import annotations

import io
import shutil
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from tests.tuner.conftest import STEPS, row, train, train_all
from tuner.errors import UserError
from tuner.execution.search import search
from tuner.search.ledger import Ledger
from tuner.sweep.ranking import best
from tuner.sweep.reader import read_records
from tuner.sweep.runs import append_metrics, flatten, read_metrics
from tuner.tracking.mirror import Mirror
from tuner.tracking.server import EXPERIMENT, quiet_mlflow, tracking_uri
from tuner.tracking.sync import mirror_now
from tuner.tracking.writer import MlflowWriter

pytestmark = [
    pytest.mark.usefixtures("with_mlflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture
def mirrored(make_sweep, monkeypatch):
    """Return a sweep, and a function that connects a new writer to its MLflow."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    sweep = make_sweep(num_trials=2)
    with quiet_mlflow():
        yield sweep, lambda: MlflowWriter(sweep)


def _client(sweep):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri(sweep.folder.parent))


def _runs(sweep):
    client = _client(sweep)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    return {run.data.tags["tuner.run"]: run for run in runs}, len(runs)


def test_one_parent_and_one_child_for_each_run(mirrored):
    sweep, connect = mirrored
    train_all(Ledger(sweep))
    writer = connect()
    for record in read_records(sweep):
        writer.write(record)
    writer.finish("completed", read_records(sweep)[-1:], {})
    runs, count = _runs(sweep)
    assert count == len(runs) == 5
    parent = runs.pop("sweep")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["tuner.best"] == "trial-0001"
    assert {"version.torch", "version.ray", "version.optuna", "version.mlflow"} <= set(parent.data.tags)
    for key, run in runs.items():
        record = next(record for record in read_records(sweep) if record.run.key == key)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
        assert run.data.params == flatten(record.run.settings)
        assert run.data.metrics["accuracy/robust"] == record.metrics["robust"]
        assert run.inputs.dataset_inputs[0].dataset.name == "digits"
        history = _client(sweep).get_metric_history(run.info.run_id, "watch/robust")
        assert [point.step for point in history] == [1, 2, 3]


def test_writing_again_changes_nothing(mirrored):
    sweep, connect = mirrored
    ledger = Ledger(sweep)
    run = ledger.next_run()
    ledger.report(run.key, row(1))
    connect().write(ledger.records[run.key])
    ledger.report(run.key, row(2))
    for _ in range(2):
        writer = connect()
        writer.write(ledger.records[run.key])
        writer.write(ledger.records[run.key])
    ledger.complete(run.key, row(STEPS))
    connect().write(ledger.records[run.key])
    connect().write(ledger.records[run.key])
    runs, count = _runs(sweep)
    assert count == 2
    history = _client(sweep).get_metric_history(runs[run.key].info.run_id, "cost/compute")
    assert [point.step for point in history] == [1, 2, 3]


def test_a_run_that_began_anew_with_other_settings_is_another_run(mirrored):
    sweep, connect = mirrored
    train_all(Ledger(sweep))
    record = read_records(sweep)[-1]
    connect().write(record)
    anew = replace(record, run=replace(record.run, settings={**record.run.settings, "seed": 99}))
    for _ in range(2):
        connect().write(anew, [row(1, 0.9, time=1.0)])
    runs, count = _runs(sweep)
    assert count == len(runs) == 3
    assert runs[record.run.key].data.params["seed"] == "99"
    assert runs[record.run.key].data.metrics["progress/step"] == 1
    (aside,) = (run for key, run in runs.items() if key.startswith(f"{record.run.key}.aside-"))
    assert aside.data.params == flatten(record.run.settings)


def test_a_driver_that_dies_after_creating_a_run_leaves_it_to_the_next(mirrored, monkeypatch):
    sweep, connect = mirrored
    ledger = Ledger(sweep)
    run = ledger.next_run()
    ledger.report(run.key, row(1))
    writer = connect()

    def die(*arguments):
        raise ConnectionError

    monkeypatch.setattr(writer, "_send", die)
    with pytest.raises(ConnectionError):
        writer.write(ledger.records[run.key])
    connect().write(ledger.records[run.key])
    found, count = _runs(sweep)
    assert count == 2
    assert found[run.key].data.params == flatten(run.settings)
    assert found[run.key].data.metrics["progress/step"] == 1


def test_states_and_reasons_are_searchable(mirrored):
    sweep, connect = mirrored
    ledger = Ledger(sweep)
    run = ledger.next_run()
    ledger.fail(run.key, "diverged: classifier_loss is nan")
    connect().write(ledger.records[run.key])
    found = _runs(sweep)[0][run.key]
    assert found.info.status == "FAILED"
    assert found.data.tags["tuner.state"] == "failed"
    assert found.data.tags["tuner.reason"] == "diverged: classifier_loss is nan"


def test_the_masking_verdict_of_an_ended_run_is_a_tag(mirrored):
    sweep, connect = mirrored
    ledger = Ledger(sweep)
    endings = [({"masking_failures": 2.0}, "fail"), ({"masking_failures": 0.0}, "pass"), ({}, None)]
    keys = []
    for metrics, _ in endings:
        run = ledger.next_run()
        keys.append(run.key)
        connect().write(ledger.records[run.key])
        ledger.complete(run.key, row(STEPS, **metrics))
        connect().write(ledger.records[run.key])
    runs = _runs(sweep)[0]
    assert [runs[key].data.tags.get("tuner.masking") for key in keys] == [verdict for _, verdict in endings]
    assert [runs[key].data.tags.get("tuner.feasible") for key in keys] == ["false", None, None]


def test_a_mirror_that_comes_late_loses_nothing(mirrored):
    sweep, connect = mirrored
    troubles: list[str] = []
    attempts = []

    def connect_the_second_time():
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            raise ConnectionError("no server there\nand more")
        return connect()

    ledger = Ledger(sweep)
    with Mirror(connect_the_second_time, troubles.append) as mirror:
        for run in iter(ledger.next_run, None):
            mirror.changed(ledger.records[run.key])
            train(ledger, run)
            mirror.changed(ledger.records[run.key])
        assert mirror.close(30, state="completed", winners=(), pictures={})
    assert troubles == ["MLflow cannot be written, the sweep goes on without it: no server there"]
    runs, count = _runs(sweep)
    assert count == 5
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_a_dead_server_is_said_once_and_stops_nothing(mirrored):
    sweep, _ = mirrored
    troubles: list[str] = []

    def refuse():
        raise ConnectionError("refused")

    ledger = Ledger(sweep)
    train_all(ledger)
    with Mirror(refuse, troubles.append) as mirror:
        for record in ledger.records.values():
            mirror.changed(record)
        assert not mirror.close(5, state="completed", winners=(), pictures={})
    assert len(troubles) == 1
    assert ledger.is_complete


def test_whatever_ends_a_drive_the_mirrors_thread_ends_with_it(mirrored):
    def refuse():
        raise ConnectionError("refused")

    def mirrors() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "mlflow-mirror"]

    tried = threading.Event()

    def fail_once_it_has_tried() -> None:
        with Mirror(refuse, lambda text: tried.set()):
            assert len(mirrors()) == 1
            assert tried.wait(10)
            raise UserError("a node does not reach the sweep's folder")

    with pytest.raises(UserError):
        fail_once_it_has_tried()
    for thread in mirrors():
        thread.join(0.5)  # it would wait for a second before it tries again
    assert mirrors() == []


OF_A_RUN = ["examples.png", "training.png"]


class TestPictures:
    @pytest.fixture
    def sweep(self, trained_sweep, monkeypatch):
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return trained_sweep

    @pytest.fixture
    def console(self):
        return Console(file=io.StringIO(), width=500)

    def _pictures(self, sweep):
        runs, count = _runs(sweep)
        assert count == 5
        client = _client(sweep)
        return {key: [file.path for file in client.list_artifacts(run.info.run_id)] for key, run in runs.items()}, runs

    def test_each_is_on_its_run_and_neither_sync_nor_resume_changes_that(self, sweep, console):
        mirror_now(sweep, console)
        winner = best(read_records(sweep), "max").run.key
        expected = {
            "sweep": ["accuracy_by_epsilon.png", "comparison.png", "report.html"],
            "trial-0000": [],
            "trial-0001": [],
        }
        expected |= dict.fromkeys(("baseline-standard", "baseline-fgsm_retraining"), OF_A_RUN)
        expected[winner] = ["examples.png", "success.png", "training.png"]
        there, runs = self._pictures(sweep)
        assert there == expected
        ending = search(sweep, console)
        assert (ending.completed, ending.mirrored) == (True, True)
        (version,) = _client(sweep).search_model_versions("name = 'real'")
        assert (version.version, version.tags["tuner.run"]) == (1, winner)
        there, runs_again = self._pictures(sweep)
        assert there == expected
        for key, run in runs.items():
            assert runs_again[key].data.to_dictionary() == run.data.to_dictionary()
        assert "drawn" not in console.file.getvalue()

    def test_a_checkpoint_that_is_gone_is_said_and_the_rest_is_drawn(self, sweep, console):
        shutil.rmtree(sweep.folder / "baselines" / "standard" / "checkpoint")
        assert search(sweep, console).mirrored
        assert "of baseline-standard: the checkpoint of the last report" in console.file.getvalue()
        there = self._pictures(sweep)[0]
        assert there["baseline-standard"] == ["training.png"]
        assert there["baseline-fgsm_retraining"] == OF_A_RUN

    def test_trouble_in_drawing_stops_nothing(self, sweep, console):
        # MLflow takes an accuracy without its compute; a picture has no place for it.
        run = read_records(sweep)[0].run
        rows = read_metrics(run)
        (run.folder / "metrics.jsonl").unlink()
        for changed in ({name: value for name, value in rows[0].items() if name != "compute"}, *rows[1:]):
            append_metrics(run, changed, sweep.store)
        assert search(sweep, console).mirrored
        assert "The pictures could not be drawn" in console.file.getvalue()
        assert self._pictures(sweep)[0]["sweep"] == []


def test_flatten_names_settings_with_dots():
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1, 2]}) == {"a.b": "1", "a.c.d": "None", "e": "[1, 2]"}
