"""Faults that only a whole process shows: a second signal, a full disk, no memory, nothing but failures; exit codes."""

from __future__ import annotations

import signal
import time

import pytest

from tests.integration.conftest import CommandLine
from tests.integration.test_command_line import SLOW, ended
from tests.integration.test_execution import SPACE
from tests.support.disks import NEEDS_ROOT, fill, small_disk
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics
from tuner.tracking.server import EXPERIMENT, tracking_uri

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def is_training(records: list) -> bool:
    return any(record.metrics for record in records)


def test_a_second_signal_quits_without_waiting_for_mlflow(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "slow.yaml").write_text(SLOW)
    # Nobody answers there, and a driver that is interrupted once waits for the mirror.
    command_line.environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    command = command_line.start("launch", "slow.yaml", "--name", "a")
    command_line.wait_until("a", is_training, command)
    for _ in range(2):
        command.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    output = command.finish(143)
    assert "`tuner resume a` goes on where it stands" in output
    assert "Traceback" not in output
    assert "MLflow cannot be written, the sweep goes on without it" in output


def test_a_signal_to_every_process_ends_it_in_words_all_the_same(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "slow.yaml").write_text(SLOW)
    command = command_line.start("launch", "slow.yaml", "--name", "a")
    command_line.wait_until("a", is_training, command)
    command.terminate_all()
    output = command.finish(143)
    assert "`tuner resume a` goes on where it stands" in output
    assert "Traceback" not in output
    assert "failed" not in {record.state for record in read_records(SweepFolder.open("a", home=command_line.home))}


@NEEDS_ROOT
def test_a_disk_that_runs_full_ends_the_sweep_in_words_and_it_goes_on_when_there_is_room(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "slow.yaml").write_text(SLOW)
    with small_disk(command_line.home, "64m"):
        command = command_line.start("launch", "slow.yaml", "--name", "a")
        command_line.wait_until("a", is_training, command)
        filler = fill(command_line.home)
        output = command.finish(1)
        assert "No space left on device" in output
        assert "`tuner resume a` goes on where it stands" in output
        assert "Traceback" not in output
        sweep = SweepFolder.open("a", home=command_line.home)
        before = {record.run.key: read_metrics(record.run) for record in read_records(sweep)}
        assert "failed" not in {record.state for record in read_records(sweep)}
        filler = fill(command_line.home)  # the sweep's end may have freed a half-written checkpoint
        assert "No space left on device" in command_line.run("resume", "a", code=1)
        filler.unlink()
        command = command_line.start("resume", "a")
        command_line.wait_until("a", lambda records: len(ended(records)) >= 1, command)
        for record in read_records(sweep):
            rows = read_metrics(record.run)
            assert rows[: len(before.get(record.run.key, []))] == before.get(record.run.key, [])
        command.process.send_signal(signal.SIGINT)
        command.finish(130)


def test_a_worker_that_is_killed_for_its_memory_is_named_as_such(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "one.yaml").write_text(SPACE.replace("trials: 3", "trials: 1"))
    command_line.environment["RAY_memory_usage_threshold"] = "0.0001"
    output = command_line.run("launch", "one.yaml", "--name", "a", code=1)
    assert "error: every run has failed" in output
    record = read_records(SweepFolder.open("a", home=command_line.home))[0]
    assert record.state == "failed"
    assert record.reason.startswith("out of memory: ")


def test_nothing_but_failures_end_the_sweep_which_says_why_everywhere(command_line: CommandLine):
    from mlflow.tracking import MlflowClient

    command_line.draw_nothing()
    command_line.module = "tests.support.failing"
    (command_line.folder / "wrong.yaml").write_text(SPACE.replace("trials: 3", "trials: 12"))
    expected = "5 runs in a row have failed"
    output = command_line.run("launch", "wrong.yaml", "--name", "a", code=1)
    assert f"error: {expected}" in output
    assert "`tuner resume a` goes on where it stands" in output
    status = command_line.run("status", "a")
    assert "a: failed" in status
    assert expected in status.replace("\n", " ")
    records = [
        record for record in read_records(SweepFolder.open("a", home=command_line.home)) if record.state == "failed"
    ]
    assert 5 <= len(records) < 12
    client = MlflowClient(tracking_uri(command_line.home))
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    by_key = {run.data.tags["tuner.run"]: run for run in runs}
    assert by_key["sweep"].info.status == "FAILED"
    for record in records:
        assert "Traceback" in by_key[record.run.key].data.tags["tuner.reason"]
        assert by_key[record.run.key].info.status == "FAILED"
