"""The short form of the fuzzer; the long one is ``python -m tests.fuzz --rounds 3000 --seed 7``."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from tests.fuzz.rounds import Answer, kind_of

EXPECTED = Answer(0, "best trial-0001 71.0\n2 runs\n", "", ["exported/provenance.json: 7b"], 0.1)
FILE = "home/real/provenance.json"
ROUNDS, SEED = 120, 20


def test_damaged_files_are_refused_or_noticed_in_words():
    command = [sys.executable, "-m", "tests.fuzz", "--rounds", str(ROUNDS), "--seed", str(SEED), "--any-speed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == f"seed {SEED}"
    tried = int(done.stdout.splitlines()[-1].split()[1])
    assert tried > ROUNDS


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "unchanged"),
        ({"output": "best trial-0001 71.1\n2 runs\n"}, "silent"),
        ({"output": "best trial-0000 71.0\n2 runs\n"}, "silent"),
        ({"output": "best trial-0001 71.0\n"}, "silent"),
        ({"written": ["exported/provenance.json: 7c"]}, "silent"),
        ({"errors": "/tmp/home/real/provenance.json is damaged"}, "noticed"),
        ({"output": "best trial-0001 71.1\n2 runs\n", "errors": "/tmp/home/real/study.journal is old"}, "noticed"),
        ({"code": 2, "output": "", "errors": "error: bundle: provenance.json is damaged"}, "refused"),
        ({"code": 2, "errors": "error: /tmp/home/real/study.journal is old"}, "noticed"),
        ({"code": 2, "output": "", "errors": "error: their images differ (real 7, other 8)"}, "refused"),
        ({"code": 2, "output": "", "errors": "error: there is no run 1"}, "nameless"),
        ({"code": 2, "output": "", "errors": "error: there is no really good run"}, "nameless"),
        ({"errors": "provenance.json is of \x1b[2J"}, "escape"),
        ({"code": 2, "output": ""}, "silent"),
        ({"code": 139, "errors": "killed"}, "silent"),
        ({"code": 1, "failure": "ValueError"}, "traceback"),
        ({"code": 1, "errors": "Traceback (most recent call last):"}, "traceback"),
    ],
)
def test_a_change_without_a_word_is_a_failure(changes, kind):
    assert kind_of(replace(EXPECTED, **changes), EXPECTED, FILE) == kind
