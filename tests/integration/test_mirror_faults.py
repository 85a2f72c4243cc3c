"""The mirror against an MLflow server of its own that is down, killed and locked; and rebuilt in another place."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.servers import MlflowServer
from tests.tuner.conftest import SPACE, row, train, train_all
from trainables.evaluation.metrics import mlflow_names
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import flatten, read_metrics
from tuner.tracking.mirror import Mirror
from tuner.tracking.server import EXPERIMENT, quiet_mlflow
from tuner.tracking.sync import mirror_now
from tuner.tracking.writer import MlflowWriter

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    one = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield one
    one.kill()


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return SweepFolder.create("tiny", SPACE, "tiny.yaml", home=tmp_path)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet_mlflow():
        yield


def writer_of(sweep: SweepFolder) -> MlflowWriter:
    return MlflowWriter(sweep)


def content(sweep: SweepFolder, uri: str) -> dict[str, tuple]:
    """Return everything that MLflow has of a sweep, checked: one run for each, every step of every metric once."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id], f"tags.`tuner.sweep_id` = '{sweep.id}'")
    by_key = {run.data.tags["tuner.run"]: run for run in runs}
    assert len(by_key) == len(runs)
    records = read_records(sweep)
    assert set(by_key) == {"sweep", *(record.run.key for record in records)}
    for record in records:
        run = by_key[record.run.key]
        assert run.data.params == flatten(record.run.settings)
        assert run.data.tags["mlflow.parentRunId"] == by_key["sweep"].info.run_id
        assert run.inputs.dataset_inputs[0].dataset.name == "digits"
        for name, in_mlflow in mlflow_names(["robust", "watch/robust", "compute", "evaluation_s"]).items():
            points = client.get_metric_history(run.info.run_id, in_mlflow)
            rows = [one for one in read_metrics(record.run) if name in one]
            assert sorted((one.step, one.value) for one in points) == [(one["step"], one[name]) for one in rows]
    return {key: (run.info.run_id, run.info.status, run.data.to_dictionary()) for key, run in by_key.items()}


def wait_until(condition) -> None:
    deadline = time.monotonic() + 400
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_server_that_is_down_at_the_start_in_the_midst_and_at_the_end(server, sweep, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    troubles: list[str] = []
    ledger = Ledger(sweep)
    with Mirror(lambda: writer_of(sweep), troubles.append) as mirror:

        def next_run() -> None:
            run = ledger.next_run()
            mirror.changed(ledger.records[run.key])
            for step in (1, 2):
                ledger.report(run.key, row(step))
                mirror.changed(ledger.records[run.key])
                time.sleep(0.2)
            ledger.complete(run.key, row(3))
            mirror.changed(ledger.records[run.key])

        wait_until(lambda: troubles)
        next_run()
        server.start()
        wait_until(lambda: mirror.is_up_to_date)
        next_run()
        time.sleep(1.0)  # the mirror gathers for a second: it is now about to write
        server.kill()
        next_run()
        server.start()
        with server.database_locked():
            next_run()
            time.sleep(8)
        wait_until(lambda: mirror.is_up_to_date)
        assert len(content(sweep, server.uri)) == 5
        server.kill()
        next_run()
        next_run()
        assert not mirror.close(3, state="completed", winners=(), pictures={})
    assert len(troubles) == 1, "one warning is enough"
    assert ledger.is_complete

    server.start()
    console = Console(file=io.StringIO())
    mirror_now(sweep, console, with_runs=False)
    first = content(sweep, server.uri)
    mirror_now(sweep, console, with_runs=False)
    assert content(sweep, server.uri) == first
    assert {status for _, status, _ in first.values()} == {"FINISHED"}


def test_sync_rebuilds_the_whole_sweep_in_another_tracking_server(server, sweep, tmp_path, monkeypatch):
    server.start()
    train_all(Ledger(sweep))
    console = Console(file=io.StringIO())
    contents = []
    for uri in (f"sqlite:///{tmp_path / 'mlflow.db'}", server.uri):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        mirror_now(sweep, console, with_runs=False)
        contents.append(content(sweep, uri))
        mirror_now(sweep, console, with_runs=False)
        assert content(sweep, uri) == contents[-1]
    here, there = contents
    assert {key: data["metrics"] for key, (_, _, data) in here.items()} == {
        key: data["metrics"] for key, (_, _, data) in there.items()
    }


@pytest.fixture
def database(sweep, tmp_path, monkeypatch):
    """Return the address of a database that is sweeps' own, as without a server."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def test_requests_that_got_no_answer_but_were_done_are_healed(sweep, database):
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    first = writer_of(sweep)
    record = read_records(sweep)[0]
    first.write(record)
    for key, tags in (("sweep", {}), (record.run.key, {"mlflow.parentRunId": first._parent.run_id})):
        first._create(key, key, tags)  # as a server makes it after its client has given up
    first._mirrored.pop(record.run.key)
    first.write(record)
    second = writer_of(sweep)
    second.write(record)
    second.finish("completed", (), {})
    content(sweep, database)


def test_rows_that_are_sent_again_are_stored_once(sweep, database):
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    writer = writer_of(sweep)
    record = read_records(sweep)[0]
    writer.write(record)
    writer._mirrored[record.run.key].last_step = 0
    writer.write(record)
    content(sweep, database)


def test_more_rows_than_a_request_takes_are_cut_between_rows(sweep, database, monkeypatch):
    monkeypatch.setattr("tuner.tracking.writer._METRICS_PER_BATCH", 45)
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    writer = writer_of(sweep)
    batches: list[set[int]] = []
    send = writer._client.log_batch

    def watched(run_id, metrics=(), params=(), tags=()):
        batches.append({metric.step for metric in metrics})
        return send(run_id, metrics, params, tags)

    monkeypatch.setattr(writer._client, "log_batch", watched)
    writer.write(read_records(sweep)[0])
    steps = [step for batch in batches for step in batch]
    assert len(batches) > 1
    assert len(steps) == len(set(steps)), "a row is in two requests"
    content(sweep, database)


def test_the_sweeps_run_shows_what_it_is_doing(sweep, database):
    def status() -> str:
        return content(sweep, database)["sweep"][1]

    for state, expected in (("interrupted", "KILLED"), ("failed", "FAILED"), ("completed", "FINISHED")):
        writer = writer_of(sweep)
        writer.begin()
        assert status() == "RUNNING"
        writer.finish(state, (), {})
        assert status() == expected


def test_a_clock_that_is_set_back_changes_no_order(sweep, database, monkeypatch):
    now = [2_000_000_000.0]

    def clock() -> float:
        now[0] -= 3600.0
        return now[0]

    monkeypatch.setattr("tuner.search.open_runs.time.time", clock)
    ledger = Ledger(sweep)
    train_all(ledger)
    for record in read_records(sweep):
        rows = read_metrics(record.run)
        assert [one["step"] for one in rows] == [1, 2, 3]
        assert [one["time"] for one in rows] == sorted((one["time"] for one in rows), reverse=True)
        assert record.metrics["step"] == 3
        assert record.ended_s >= 0
    writer = writer_of(sweep)
    for record in read_records(sweep):
        writer.write(record)
    assert {data["metrics"].get("progress/step") for _, _, data in content(sweep, database).values()} == {None, 3.0}
