"""What a process shares is as it was before: variables, loggers."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.common import process_state
from trainables.common.process_state import (
    end_with_parent,
    environment,
    environment_kept,
    garbage_collection_paused,
    loggers_kept,
    python_command,
    python_environment,
)
from tuner.tracking.server import quiet_mlflow


def fail_within(context, change) -> None:
    with context:
        change()
        raise KeyError


def test_variables_are_put_back_whatever_happens(monkeypatch):
    monkeypatch.setenv("A", "1")
    monkeypatch.delenv("B", raising=False)

    def change():
        assert (os.environ["A"], os.environ["B"]) == ("2", "3")
        os.environ["B"] = "4"

    with pytest.raises(KeyError):
        fail_within(environment({"A": "2", "B": "3"}), change)
    assert os.environ["A"] == "1"
    assert "B" not in os.environ


def test_what_others_do_to_the_environment_is_taken_back(monkeypatch):
    monkeypatch.setenv("A", "1")
    before = dict(os.environ)

    def change():
        os.environ |= {"A": "2", "B": "3"}
        del os.environ["PATH"]

    with pytest.raises(KeyError):
        fail_within(environment_kept(), change)
    assert dict(os.environ) == before


def test_garbage_is_collected_again_whatever_happens():
    def change():
        assert not gc.isenabled()

    with pytest.raises(KeyError):
        fail_within(garbage_collection_paused(), change)
    assert gc.isenabled()


def test_who_collects_no_garbage_goes_on_so():
    gc.disable()
    try:
        with garbage_collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_loggers_are_put_back():
    logger, other = logging.getLogger("of this test"), logging.getLogger("of this test, too")
    handler = logging.NullHandler()
    logger.addHandler(handler)

    def change():
        for one in (logger, other, logging.root):
            one.setLevel(logging.CRITICAL)
            one.handlers[:] = [logging.NullHandler()]
            one.propagate, one.disabled = False, True

    before = logging.root.level, list(logging.root.handlers)
    with pytest.raises(KeyError):
        fail_within(loggers_kept(), change)
    assert (logger.level, logger.handlers, logger.propagate, logger.disabled) == (0, [handler], True, False)
    assert (logging.root.level, logging.root.handlers, logging.root.disabled) == (*before, False)
    with loggers_kept(["of this test"]):
        change()
    assert (logger.level, logger.handlers) == (0, [handler])
    assert other.level == logging.CRITICAL
    other.setLevel(0)
    other.propagate, other.disabled = True, False
    logging.root.setLevel(before[0])
    logging.root.handlers[:] = before[1]
    logging.root.disabled, logging.root.propagate = False, True


def test_mlflow_is_quiet_for_as_long_as_it_is_asked_to_be_and_what_the_user_has_set_counts(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    with quiet_mlflow():
        pass
    levels = [logging.getLogger(name).level for name in ("mlflow", "alembic")]
    before = dict(os.environ)
    with quiet_mlflow():
        assert logging.getLogger("mlflow").level == logging.CRITICAL
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert dict(os.environ) == before
    assert [logging.getLogger(name).level for name in ("mlflow", "alembic")] == levels
    assert logging.CRITICAL not in levels


def test_a_child_takes_no_code_from_its_folder_and_finds_the_same_packages(tmp_path, monkeypatch):
    for name in ("tuner", "random", "mlflow"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the current folder')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)  # a separator alone means the current folder
    script = "import random, runpy, sys, tuner; print(tuner.__file__)"
    command = [*python_command("tuner")[:-2], "-c", script]
    done = subprocess.run(command, env=python_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).parents[1] == Path(process_state.__file__).parents[2]


def test_python_m_tuner_takes_no_further_code_from_the_current_folder(tmp_path):
    for name in ("random", "mlflow", "typer", "trainables"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the current folder')")
    environment = {**os.environ, "PYTHONPATH": str(Path(process_state.__file__).parents[2])}
    command = [sys.executable, "-m", "tuner", "status", "--home", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_installed_packages_need_no_path_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(process_state, "__file__", str(tmp_path / "trainables" / "common" / "process_state.py"))
    assert process_state.source_folders() == [str(tmp_path)]
    monkeypatch.setattr(process_state.sysconfig, "get_path", lambda name: str(tmp_path))
    assert process_state.source_folders() == []


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_without_standard_streams_a_command_does_the_same_and_no_file_gets_their_number(tmp_path, closed):
    probe = (
        "import os, sys; from trainables.common.process_state import open_missing_streams; open_missing_streams(); "
        "print('out'); print('err', file=sys.stderr); sys.stdin.read(); file = open('opened', 'w'); "
        "file.write(str(file.fileno())); os.system('echo child; echo child >&2')"
    )
    shell = f'exec "{sys.executable}" -P -c "$0" {closed}'
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["sh", "-c", shell, probe],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ([] if " >&-" in f" {closed}" else ["out", "child"])
    assert done.stderr.split() == ([] if "2>&-" in closed else ["err", "child"])
    assert int((tmp_path / "opened").read_text()) > 2


def test_tuner_runs_without_any_standard_stream():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shell = f'exec "{sys.executable}" -P -m tuner spaces list <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", shell], env=environment, check=False).returncode == 0


WORKERS = """\
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from trainables.common.process_state import end_with_parent

def work():
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=end_with_parent) as pool:
        for _ in range(5):
            pool.submit(work)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path, number):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    parent = subprocess.Popen([sys.executable, script], env=python_environment(), stdout=subprocess.PIPE, text=True)
    assert len({parent.stdout.readline() for _ in range(2)}) == 2
    parent.send_signal(number)
    assert parent.wait(60) == -number
    # The output ends once no process has it any more; a worker that begins with what is left would write into it.
    assert parent.communicate(timeout=60)[0] == ""


def test_a_process_without_a_parent_cannot_end_with_it():
    with pytest.raises(ValueError, match="not started by multiprocessing"):
        end_with_parent()
