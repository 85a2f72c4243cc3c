"""A sweep that is launched in a user's own process leaves that process as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

SCRIPT = """\
import json, logging, os, signal, sys
import mlflow.tracking, ray.tune
from tuner import Sweep

SPACE = {
    "name": "tiny",
    "trainable": "standard",
    "dataset": {"name": "digits", "validation": 200},
    "evaluation": {"watch_images": 20, "rank_images": 30},
    "budget": {"trials": 1, "compute": 1},
    "search": {"sampler": "random"},
    "parameters": {"classifier": {"architecture": "mlp", "learning_rate": {"float": [1e-3, 2e-3]}}},
}

def state(names):
    loggers = {name: logging.getLogger(name) for name in names}
    return {
        "environment": dict(os.environ),
        "loggers": {n: [x.level, list(map(repr, x.handlers)), x.propagate, x.disabled] for n, x in loggers.items()},
        "signals": {name: repr(signal.getsignal(getattr(signal, name))) for name in ("SIGINT", "SIGTERM", "SIGHUP")},
        "folder": os.getcwd(),
    }

names = ["root", *(n for n, x in logging.root.manager.loggerDict.items() if isinstance(x, logging.Logger))]
before = state(names)
sweep = Sweep.launch(SPACE, home=sys.argv[1])
after = state(names)
again = Sweep.launch(SPACE, home=sys.argv[1])  # on the same Ray
print(json.dumps([before, after, state(names), [sweep.ending.completed, again.ending.completed]]))
"""


def test_a_launch_leaves_environment_loggers_signal_handlers_and_folder_as_they_were(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "sweeps")],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    before, after, again, completed = json.loads(done.stdout.splitlines()[-1])
    assert completed == [True, True]
    for name, value in before.items():
        assert after[name] == value, name
        assert again[name] == value, name
    assert {"root", "ray", "mlflow", "alembic"} <= before["loggers"].keys()
