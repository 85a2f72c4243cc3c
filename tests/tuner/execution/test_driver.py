"""A driver holds its lock from the first to the last; SIGTERM ends it soon, also where it waits for an answer."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from trainables.common.process_state import python_environment
from tuner.execution import driver
from tuner.execution import search as search_stage

WAITING = """
import os, signal, sys, time
from tuner.execution import driver
driver._END_WITHIN_S = float(sys.argv[1])
with driver.GracefulSignals("way on"):
    signal.signal(signal.SIGINT, lambda number, frame: None)  # as Tune does: it only ends its loop
    os.kill(os.getpid(), signal.SIGTERM)
    if sys.argv[2] == "hangs":
        time.sleep(60)
print("ended in order")
"""


@pytest.mark.parametrize(
    ("seconds", "how", "code", "printed"), [("0.1", "hangs", 143, "way on\n"), ("60", "ends", 0, "ended in order\n")]
)
def test_what_does_not_end_in_order_ends_all_the_same(seconds, how, code, printed):
    command = [sys.executable, "-c", WAITING, seconds, how]
    done = subprocess.run(command, env=python_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (code, printed)


class ReachedError(Exception):
    pass


def test_from_the_repair_on_no_other_driver_can_come_in_between(make_sweep):
    sweep, seen = make_sweep(), []

    def look(*_):
        seen.append((sweep.is_running(), (sweep.folder / "owner.json").stat().st_mtime_ns))

    def make_stage(study_lock):
        look()
        raise ReachedError

    with pytest.raises(ReachedError):
        driver.drive(sweep, Console(quiet=True), make_stage, prepare=look)
    assert seen[0] == seen[1]  # whoever takes the lock writes owner.json
    assert seen[0][0]
    assert not sweep.is_running()


def test_what_is_repaired_is_repaired_by_the_driver_that_searches(make_sweep, monkeypatch):
    def drive(sweep, console, make_stage, on_start, **options):
        with sweep.lock():
            options["prepare"]()
        return options["command"]

    monkeypatch.setattr(search_stage, "drive", drive)
    sweep, console = make_sweep(), Console(file=io.StringIO(), width=200)
    assert search_stage.search(sweep, console) == "resume"
    assert console.file.getvalue() == ""
    assert search_stage.search(sweep, console, repair=True) == "resume --repair"
    assert console.file.getvalue() == "Every run that has ended has its metrics and its last checkpoint\n"
