"""The short form of the fuzzer; the long one is ``python -m tests.fuzz --rounds 3000 --seed 7``."""

from __future__ import annotations

import subprocess
import sys

ROUNDS, SEED = 300, 20


def test_damaged_files_are_refused_or_noticed_in_words():
    command = [sys.executable, "-m", "tests.fuzz", "--rounds", str(ROUNDS), "--seed", str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == f"seed {SEED}"
    tried = int(done.stdout.splitlines()[-1].split()[1])
    assert tried > ROUNDS
