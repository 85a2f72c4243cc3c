"""A run's log: what a process writes meanwhile is in it, and no run fails for it."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from trainables.storage.sweep_store import SweepStore
from trainables.worker.run_log import NAME, RunLog

WRITES = """\
import logging, sys, warnings
from pathlib import Path
from trainables.storage.sweep_store import SweepStore
from trainables.worker.run_log import RunLog

with RunLog(Path(sys.argv[1]), SweepStore(Path(sys.argv[1]))).capture():
    print("printed é")
    print("an error", file=sys.stderr)
    logging.getLogger("somebody").warning("logged")
    warnings.warn("warned")
print("outside")
logging.getLogger("somebody").warning("outside")
"""


def test_what_python_writes_is_captured(tmp_path):
    command = [sys.executable, "-c", WRITES, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("outside\n", "outside\n")
    text = (tmp_path / "run" / NAME).read_text()
    for what in ("printed é\n", "an error\n", "WARNING somebody: logged\n", "UserWarning: warned"):
        assert what in text
    assert "outside" not in text


def test_what_raises_is_let_through_and_nothing_stays_captured(tmp_path):
    before = sys.stdout, sys.stderr, list(logging.getLogger().handlers)
    with pytest.raises(ZeroDivisionError), RunLog(tmp_path, SweepStore(tmp_path)).capture():
        raise ZeroDivisionError
    assert (sys.stdout, sys.stderr, list(logging.getLogger().handlers)) == before


def test_attempts_are_added(tmp_path):
    for attempt in ("first", "second"):
        RunLog(tmp_path, SweepStore(tmp_path)).note(attempt)
    lines = (tmp_path / NAME).read_text().splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["first", "second"]
    assert all(line.partition(" ")[0].endswith("+00:00") for line in lines)


def test_a_log_that_cannot_be_written_is_lost(tmp_path):
    (tmp_path / "file").write_text("")
    log = RunLog(tmp_path / "file" / "run", SweepStore(tmp_path))
    with log.capture():
        print("lost")
    log.note("lost")
    assert (tmp_path / "file").read_text() == ""


def test_text_that_is_no_unicode_is_written_escaped(tmp_path):
    RunLog(tmp_path, SweepStore(tmp_path)).write("\ud800\n")
    assert (tmp_path / NAME).read_text() == "\\ud800\n"
