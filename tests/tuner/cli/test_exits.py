"""How a command ends at SIGTERM: what it has begun is tidied up, in whichever command it comes."""

from __future__ import annotations

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
