"""SIGTERM ends a driver soon, also where what it waits for does not answer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trainables.common.process_state import python_environment

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
