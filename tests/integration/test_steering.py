"""A sweep steered from other terminals: detached, watched, paused, resumed, stopped, through the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.integration.conftest import CommandLine
from tests.integration.test_command_line import ended
from tuner.sweep.control import phase_of
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import baseline_name, read_metrics

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

SLOW = """\
name: slow
trainable: gan
dataset: {name: digits, validation: 200}
evaluation: {watch_images: 100, rank_images: 200}
budget: {trials: 3, compute: 8}
search: {sampler: random}
baselines: [standard]
parameters:
  batch_size: 16
  generator: {learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
"""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 400
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def num_rows(sweep: SweepFolder) -> int:
    return sum(len(read_metrics(record.run)) for record in read_records(sweep))


def test_detached_watched_paused_resumed_stopped_and_resumed(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "slow.yaml").write_text(SLOW)
    output = command_line.run("launch", "slow.yaml", "--name", "a", "--detach")
    sweep = SweepFolder.open("a", home=command_line.home)
    assert sweep.is_running()
    assert "`tuner watch a` shows how" in output
    owner = json.loads((sweep.folder / "owner.json").read_text())
    assert str(owner["pid"]) in output
    try:
        watching = command_line.start("watch", "a")
        wait_until(lambda: num_rows(sweep) > 3, "it reports")

        assert "pauses once each run has reported" in command_line.run("pause", "a")
        wait_until(lambda: phase_of(sweep) == "paused", "it pauses")
        rows = num_rows(sweep)
        paused = json.loads(command_line.run("status", "a", "--format", "json"))
        assert (paused["state"], paused["driver"]["pid"]) == ("paused", owner["pid"])
        assert paused["trials"].get("running", 0) == paused["baselines"].get("running", 0) == 0
        assert paused["cost"]["compute"] > 0
        assert "is paused already" in command_line.run("pause", "a", code=2)
        assert "is being run by process" in command_line.run("resume", "a", "--trials", "4", code=2)
        assert num_rows(sweep) == rows, "a run went on through the pause"

        assert "a goes on" in command_line.run("resume", "a")
        wait_until(lambda: num_rows(sweep) > rows, "it goes on")
        assert sweep.is_running()

        assert "ends once each run has reported" in command_line.run("stop", "a")
        # The watcher sees it end, and how.
        output = watching.finish(3)
        assert "stopped on request" in output
        assert "Traceback" not in output
    finally:
        if sweep.is_running():
            subprocess.run(["kill", "-9", str(owner["pid"])], check=False)
    log = (sweep.folder / "driver.log").read_text()
    resume = f"`tuner resume a --home {command_line.home}`"  # wherever the log is read
    assert f"Paused: {resume} goes on" in log
    assert f"Stopped on request; {resume} goes on where it stands" in log
    assert "Traceback" not in log
    assert json.loads(command_line.run("status", "a", "--format", "json"))["state"] == "interrupted"
    assert "no driver is at work on 'a'" in command_line.run("stop", "a", code=2)

    finished = ended(read_records(sweep))
    before = {record.run.key: read_metrics(record.run) for record in read_records(sweep)}
    output = command_line.run("resume", "a")
    records = read_records(sweep)
    assert ended(records) == {record.run.key for record in records}
    assert len(records) == 4
    for record in records:
        rows_now = read_metrics(record.run)
        kept = before.get(record.run.key, [])
        assert rows_now[: len(kept)] == kept
        assert [row["step"] for row in rows_now] == list(range(1, len(rows_now) + 1))
    trained_again = {line.split()[0] for line in output.splitlines() if " running " in line}
    assert not trained_again & {baseline_name(key) or key for key in finished}
    logs = {record.run.key: (record.run.folder / "log.txt").read_text() for record in records}
    assert command_line.run("logs", "a", "standard") == logs["baseline-standard"]
    for record in records:
        assert logs[record.run.key].count("+00:00 report ") == 8
    assert any("goes on after report" in text for text in logs.values())
    assert "a: completed" in command_line.run("watch", "a")


def test_a_detached_driver_outlives_its_terminal_and_ends_by_itself(command_line: CommandLine):
    (command_line.folder / "slow.yaml").write_text(SLOW)
    command = command_line.start("launch", "slow.yaml", "--name", "b", "--detach")
    command.finish(0)
    sweep = SweepFolder.open("b", home=command_line.home)
    pid = json.loads((sweep.folder / "owner.json").read_text())["pid"]
    session = subprocess.run(["ps", "-o", "sid=", "-p", str(pid)], capture_output=True, text=True, check=True)
    assert int(session.stdout) == pid, "it has a session of its own: no terminal's hang-up reaches it"
    watching = command_line.start("watch", "b")
    wait_until(lambda: "running" in watching.output, "the watcher shows something")
    watching.process.send_signal(signal.SIGINT)
    assert "The sweep goes on" in watching.finish(130)
    output = command_line.run("watch", "b")
    assert "b: completed, 3 of 3 trials" in output
    assert "4 of 4 runs" in (sweep.folder / "driver.log").read_text()


def test_ctrl_c_ends_a_paused_driver(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "slow.yaml").write_text(SLOW)
    command = command_line.start("launch", "slow.yaml", "--name", "c")
    command_line.wait_until("c", lambda records: any(record.metrics for record in records), command)
    sweep = SweepFolder.open("c", home=command_line.home)
    command_line.run("pause", "c")
    wait_until(lambda: phase_of(sweep) == "paused", "it pauses")
    command.process.send_signal(signal.SIGINT)
    assert "`tuner resume c` goes on where it stands" in command.finish(130)
    assert json.loads(command_line.run("status", "c", "--format", "json"))["state"] == "interrupted"
