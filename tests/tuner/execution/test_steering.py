"""Steering and watching without Ray: requests and phases, what a watcher reads, status, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuner.conftest import STEPS, row, train, train_all
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.execution import launch
from tuner.execution.launch import start_detached
from tuner.results.follower import Follower
from tuner.search.ledger import Ledger
from tuner.sweep import control
from tuner.sweep.control import Control, phase_of
from tuner.sweep.reader import read_records
from tuner.sweep.snapshot import read_snapshot
from tuner.sweep.status import BestRun, status_lines, status_of, summarize, summary_line

HOLD = """\
import sys, time
from pathlib import Path
from tuner.sweep.control import Control
from tuner.sweep.folder import SweepFolder
sweep = SweepFolder.open("tiny", home=Path(sys.argv[1]))
with sweep.lock(*sys.argv[2:]):
    control = Control(sweep)
    print("ready", flush=True)
    while not control.is_winding_down():
        time.sleep(0.05)
    if control.phase == "pausing" and control.wait():
        print("goes on", flush=True)
        while not control.is_winding_down():
            time.sleep(0.05)
    control.end()
"""


def folder_alone(folder):
    """Return what steering needs of a sweep: its folder, and the store that it is in."""
    return SimpleNamespace(folder=folder, store=SweepStore(folder))


@pytest.fixture
def here(tmp_path):
    return folder_alone(tmp_path)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(control, "_LOOK_EVERY_S", 0.0)


@pytest.fixture
def driver(make_sweep, request):
    """Return a process that holds a sweep's lock and takes requests as a driver does, but trains nothing.

    A test's parameter is the command with which it says that it goes on.
    """
    sweep = make_sweep()
    command = [sys.executable, "-c", HOLD, str(sweep.folder.parent), *getattr(request, "param", [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_request_is_taken_once(tmp_path, here, at_once):
    driver = Control(here)
    assert not driver.is_winding_down()
    control.ask(here, "pause")
    assert driver.is_winding_down()
    assert phase_of(here) == "pausing"
    assert [path.name for path in tmp_path.iterdir()] == ["phase.json"]


def test_a_new_driver_knows_nothing_of_what_the_last_one_was_asked(tmp_path, here, at_once):
    control.ask(here, "stop")
    assert Control(here).is_winding_down() is False
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"request": "explode"}', b"\x00\xff", b'{"request": ["stop"]}']
)
def test_what_is_no_request_changes_nothing(tmp_path, here, at_once, content):
    driver = Control(here)
    (tmp_path / "request.json").write_bytes(content)
    (tmp_path / "phase.json").write_bytes(content)
    assert not driver.is_winding_down()
    assert phase_of(here) == "running"


def test_a_resume_waits_until_the_pause_has_come(here, at_once):
    driver = Control(here)
    control.ask(here, "pause")
    assert driver.is_winding_down()
    control.ask(here, "resume")
    assert driver.is_winding_down(), "runs that were stopped already would never be started again"
    assert driver.wait()
    assert not driver.is_winding_down()
    assert phase_of(here) == "running"


def test_a_paused_driver_can_be_stopped(here, at_once):
    driver = Control(here)
    control.ask(here, "pause")
    assert driver.is_winding_down()
    asking = threading.Timer(0.1, control.ask, (here, "stop"))
    asking.start()
    assert driver.wait() is False
    asking.join()
    assert phase_of(here) == "stopping"
    driver.end()
    assert phase_of(here) == "stopped"


@given(requests=st.lists(st.sampled_from(["stop", "pause", "resume"]), max_size=6))
@settings(max_examples=20, deadline=None)
def test_whatever_is_asked_a_stop_is_never_forgotten(requests):
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "_LOOK_EVERY_S", 0.0)
        here = folder_alone(Path(folder))
        driver = Control(here)
        for request in requests:
            control.ask(here, request)
            driver.is_winding_down()
            assert driver.phase == phase_of(here)
        if "stop" in requests:
            assert driver.phase == "stopping"
        elif "pause" in requests:
            assert driver.phase == "pausing"
        else:
            assert driver.phase == "running"


@pytest.mark.parametrize(
    ("driver", "moment"),
    [
        (["evaluate"], "once each run that is being evaluated is done"),
        (["confirm"], "once each run has reported or has been evaluated"),
    ],
    indirect=["driver"],
)
def test_a_stop_names_what_it_waits_for_and_the_command_that_goes_on(run, driver, moment):
    command = driver.args[-1]
    assert f"driven by process {driver.pid} on " in run("status", "tiny", "--home", ".")[1]
    assert f": `tuner {command} tiny" in run("status", "tiny", "--home", ".")[1]
    said = " ".join(run("stop", "tiny", "--home", ".")[1].split())
    assert moment in said
    assert f"`tuner {command} tiny" in said


def test_a_driver_is_paused_resumed_and_stopped_from_the_command_line(run, driver):
    process = driver
    assert "pauses once each run has reported" in run("pause", "tiny", "--home", ".")[1]
    code, output = run("pause", "tiny", "--home", ".")
    assert (code, "is paused already: `tuner resume tiny`" in output) == (2, True)
    assert json.loads(run("status", "tiny", "--home", ".", "--format", "json")[1])["state"] == "paused"
    assert "goes on" in run("resume", "tiny", "--home", ".")[1]
    assert process.stdout.readline() == "goes on\n"
    assert "ends once each run has reported" in run("stop", "tiny", "--home", ".")[1]
    assert process.wait(20) == 0
    assert "; stopped on request" in run("status", "tiny", "--home", ".")[1]
    code, output = run("watch", "tiny", "--home", ".")
    assert (code, "stopped on request" in output) == (3, True)


def test_a_detached_driver_is_refused_where_one_is_at_work(run, driver):
    code, output = run("resume", "tiny", "--home", ".", "--detach")
    assert (code, "is being run by process" in output) == (2, True)
    code, output = run("resume", "tiny", "--home", ".", "--detach", "--trials", "9")
    assert (code, "is being run by process" in output) == (2, True)


def test_a_detached_driver_that_ends_at_once_says_why(make_sweep, monkeypatch):
    sweep = make_sweep()
    with (sweep.folder / "space.yaml").open("a") as file:
        file.write("unknown: 1\n")
    with pytest.raises(UserError, match=r"ended at once: error: .*unknown key"):
        start_detached(sweep)


DAWDLE = """\
#!{python}
import sys, time
from pathlib import Path
import tuner.execution.search
from tuner.cli.app import main

def search(sweep, console, *on_start, repair, insecure):
    time.sleep(1)  # the lock has been held for a moment, to prepare
    with sweep.lock():
        Path("holds").touch()
        [call() for call in on_start]
        while not Path("end").exists():
            time.sleep(0.02)
    sys.exit(0)

tuner.execution.search.search = search
sys.argv = ["tuner", *sys.argv[4:]]
main()
"""


def test_a_detached_driver_holds_its_sweep_when_the_launcher_returns(make_sweep, tmp_path, monkeypatch):
    sweep = make_sweep()
    slow = tmp_path / "python"
    slow.write_text(DAWDLE.format(python=sys.executable))
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.chdir(tmp_path)
    pid = start_detached(sweep)
    assert (tmp_path / "holds").exists()
    assert sweep.is_running()
    assert json.loads((sweep.folder / "owner.json").read_text())["pid"] == pid
    (tmp_path / "end").touch()
    assert launch._started[-1].wait(30) == 0


def test_nothing_is_detached_that_can_be_refused(run, tmp_path):
    code, output = run("launch", "digits", "--name", "../up", "--detach")
    assert (code, "must be 1 to 63" in output) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["stop", "pause"])
def test_without_a_driver_there_is_nobody_to_ask(run, make_sweep, command):
    sweep = make_sweep()
    code, output = run(command, "tiny", "--home", ".")
    assert (code, "no driver is at work on 'tiny'" in output) == (2, True)
    assert not (sweep.folder / "request.json").exists()
    assert run(command, "other", "--home", ".")[0] == 2


def test_runs_that_are_put_back_go_on_first(make_sweep):
    ledger = Ledger(make_sweep())
    first, second = ledger.next_run(), ledger.next_run()
    ledger.report(first.key, row(1))
    ledger.report(second.key, row(1))
    ledger.requeue(first.key)
    assert ledger.has_open_runs
    ledger.requeue(second.key)
    assert ledger.is_interrupted
    assert not ledger.has_open_runs
    ledger.rest()
    assert [ledger.next_run().key, ledger.next_run().key] == [first.key, second.key]
    assert train(ledger, first, start=2)
    assert train(ledger, second, start=2)
    train_all(ledger)
    assert ledger.is_complete


def test_a_pause_spends_none_of_the_sweeps_time(make_sweep, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("tuner.search.ledger.time.monotonic", lambda: now[0])
    ledger = Ledger(make_sweep(replace=("compute: 3}", "compute: 3, time: 1m}")))
    run = ledger.next_run()
    now[0] += 40
    ledger.requeue(run.key)
    ledger.rest()
    now[0] += 3600
    assert ledger.next_run().key == run.key
    now[0] += 15
    assert [ledger.next_run().kind for _ in range(2)] == ["baseline", "trial"]
    now[0] += 15
    assert ledger.next_run() is None


def test_a_follower_sees_what_a_reader_sees_and_reads_only_what_is_new(make_sweep, monkeypatch):
    sweep = make_sweep()
    follower = Follower(sweep)
    assert (follower.records, follower.refresh()) == ({}, [])
    ledger = Ledger(sweep)
    while (run := ledger.next_run()) is not None:
        assert [record.run.key for record in follower.refresh()] == [run.key]
        ledger.report(run.key, row(1))
        assert [record.metrics["step"] for record in follower.refresh()] == [1]
        assert follower.refresh() == []
        train(ledger, run, start=2)
        assert [record.state for record in follower.refresh()] == ["complete"]
        whole = {record.run.key: record for record in read_records(sweep)}
        assert {key: record.state for key, record in follower.records.items()} == {
            key: record.state for key, record in whole.items()
        }
        assert all(follower.records[key].metrics == record.metrics for key, record in whole.items())
    monkeypatch.setattr(
        "tuner.results.follower.record_of", lambda *arguments: pytest.fail("it read again what has ended")
    )
    assert follower.refresh() == []


def test_a_follower_waits_for_the_rest_of_a_line(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    follower = Follower(sweep)
    train(ledger, ledger.next_run())
    content = sweep.journal.read_bytes()
    sweep.journal.write_bytes(content[:-20])
    assert [record.state for record in follower.refresh()] == ["running"]
    sweep.journal.write_bytes(content)
    assert [record.state for record in follower.refresh()] == ["complete"]


def test_status_says_counts_best_and_cost(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    train_all(ledger)
    about = status_of(read_snapshot(sweep, with_rows=True))
    assert about.state == "completed"
    assert about.trials == {"complete": 4}
    assert about.baselines == {"complete": 2}
    assert about.best == BestRun("trial-0003", "robust", pytest.approx(0.4))
    assert about.cost.compute == 6 * STEPS
    assert about.cost.train_s == 6.0
    assert about.cost.cpu_hours == pytest.approx(6 * 1.5 / 3600)
    assert about.cost.gpu_hours == 0.0
    assert (about.seconds_left, about.driver, about.why) == (None, None, None)
    assert json.loads(about.to_json()) == json.loads(json.dumps(asdict(about)))


def test_a_run_costs_its_part_of_what_its_pack_has(make_sweep):
    ledger = Ledger(sweep := make_sweep())
    ledger.complete(ledger.next_run().key, row(STEPS, gpu_share=0.125, pack=8))
    cost = status_of(read_snapshot(sweep, with_rows=True)).cost
    assert (cost.cpu_hours, cost.gpu_hours) == (pytest.approx(1.5 / 3600 / 8), pytest.approx(1.5 / 3600 / 8))


def test_status_names_a_saturated_generator(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    key = ledger.next_run().key
    ledger.report(key, {**row(1), "generator/saturation": 0.3, "watch/fgsm": 0.1, "watch/generator": 0.9})
    assert status_of(read_snapshot(sweep, with_rows=True)).warnings == {}
    ledger.report(key, {**row(2), "generator/saturation": 0.72, "watch/fgsm": 0.87, "watch/generator": 0.84})
    assert status_of(read_snapshot(sweep, with_rows=True)).warnings == {}, "as strong as FGSM"
    ledger.report(key, {**row(3), "generator/saturation": 0.72, "watch/fgsm": 0.2, "watch/generator": 0.8})
    about = status_of(read_snapshot(sweep, with_rows=True))
    assert about.warnings[key].startswith("the generator is saturated: 72 % of its outputs")
    assert "FGSM takes 60 points more of the accuracy" in about.warnings[key]
    assert status_lines(about)[-1].startswith(f"{key}: the generator is saturated")


def test_status_of_a_sweep_in_the_midst(make_sweep):
    sweep = make_sweep()
    with sweep.lock():
        ledger = Ledger(sweep)
        train(ledger, ledger.next_run())
        ledger.report(ledger.next_run().key, row(1))
        about = status_of(read_snapshot(sweep, with_rows=True))
        assert about.state == "running"
        assert about.baselines == {"complete": 1, "running": 1}
        assert about.seconds_left > 0
        assert about.driver.pid > 0
        control.Control(sweep)._enter("paused")
        paused = summarize(read_snapshot(sweep))
        assert (paused.state, paused.baselines) == ("paused", {"complete": 1, "unfinished": 1})
    about = summarize(read_snapshot(sweep))
    assert summary_line(about) == (
        "tiny: interrupted, 0 of 4 trials complete, 4 to come; 1 of 2 baselines complete, 1 unfinished"
    )


def test_status_says_which_budget_ended_a_search(make_sweep):
    sweep = make_sweep(replace=("compute: 3}", "compute: 3, total_compute: 6}"))
    train_all(Ledger(sweep))
    about = summarize(read_snapshot(sweep))
    assert (about.state, about.trials) == ("completed", {"complete": 2})
    assert "2 of 4 trials complete, 2 not needed; 2 baselines" in summary_line(about)
    assert "the total compute of 6 is spent" in summary_line(about)


def test_a_sweep_that_gave_up_has_failed_and_says_why(run, make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    ledger.give_up("the disk is full")
    line = summary_line(summarize(read_snapshot(sweep)))
    assert line.startswith("tiny: failed, 0 of 4 trials complete, 4 to come;")
    assert line.endswith("; the disk is full")
    assert run("watch", "tiny", "--home", ".")[0] == 1
    ledger.give_up("")
    assert run("watch", "tiny", "--home", ".")[0] == 130
    train_all(ledger)
    assert run("watch", "tiny", "--home", ".")[0] == 0


def test_a_sweep_that_cannot_be_read_hides_no_other(run, make_sweep):
    sweep = make_sweep("broken")
    (sweep.folder / "space.yaml").write_text("name: [")
    make_sweep("whole")
    code, output = run("status", "--home", ".")
    assert code == 0
    states = {line.split()[0]: line.split()[1] for line in output.splitlines()[3:5]}
    assert states == {"broken": "unreadable", "whole": "interrupted"}
    assert "not valid YAML" in output
    assert run("status", "broken", "--home", ".")[0] == 2


def test_watch_needs_to_know_which(run, make_sweep):
    make_sweep("one")
    code, output = run("watch", "--home", ".")
    assert (code, "none runs in" in output) == (2, True)
    assert "one: interrupted" in run("watch", "one", "--home", ".")[1]


def test_logs_are_printed_as_they_are(run, make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    code, output = run("logs", "tiny", "standard", "--home", ".")
    assert (code, "has written nothing yet" in output) == (2, True)
    folder = sweep.folder / "baselines" / "standard"
    (folder / "log.txt").write_bytes(b"first [line]\nhalf a character: " + "é".encode()[:1])
    code, output = run("logs", "tiny", "standard", "--home", ".", "--follow")
    assert (code, output) == (0, "first [line]\nhalf a character: \ufffd")
    assert run("logs", "tiny", "17", "--home", ".")[0] == 2
