"""The short form of the chaos test; the long one is ``python -m tests.chaos --rounds 20``."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray


def test_three_rounds_lose_nothing():
    command = [sys.executable, "-m", "tests.chaos", "--rounds", "3", "--seed", "5"]
    done = subprocess.run(
        [*command, "--faults", "driver", "machine", "mlflow"], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rounds = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("round")]
    assert sorted(rounds) == ["driver", "machine", "mlflow"]
    assert "all rounds survived" in done.stdout
