"""How a command ends: at SIGTERM what it has begun is tidied up; a path that cannot be opened is named."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys

import pytest

from trainables.common.process_state import python_environment
from tuner.cli.exits import run_command

SCRIPT = """\
import signal, sys, time
from tuner.cli.exits import run_command

signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "ignored" else signal.SIG_DFL)

def command():
    try:
        print("begun", flush=True)
        sys.stdin.readline()
    finally:
        print("tidied up", flush=True)

run_command(command)
"""


def started(how: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SCRIPT, how]
    process = subprocess.Popen(command, env=python_environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def test_it_ends_in_order_without_a_word():
    process = started("default")
    process.terminate()
    assert process.communicate(timeout=60) == ("tidied up\n", "")
    assert process.returncode == 143


def test_whoever_ignores_it_goes_on():
    process = started("ignored")
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    assert process.communicate("\n", timeout=60) == ("tidied up\n", "")
    assert process.returncode == 0


def test_afterwards_the_handler_is_the_former_one():
    before = signal.getsignal(signal.SIGTERM)
    run_command(lambda: None)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("command", [["verify"], ["train"], ["reproduce"], ["status", "--home"]])
def test_a_name_that_no_file_can_have_is_named(run, command):
    code, output = run(*command, "x" * 300)
    assert code == 2
    assert "xxx...: File name too long" in output


def test_a_path_that_may_not_be_opened_is_named(capsys):
    def command() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/mine/a.json")

    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: /mine/a.json: Permission denied\n"


def test_an_error_that_is_not_of_a_path_has_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which is replaced

    def command() -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/ours")

    with pytest.raises(FileNotFoundError):
        run_command(command)
