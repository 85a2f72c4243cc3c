"""MLflow's database: made whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tuner.tracking.server import connect, quiet_mlflow

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
# Ends by SIGKILL when a table has been made that the next step of MLflow's schema would rename.
CONNECT = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from tuner.tracking.server import connect, quiet_mlflow

@event.listens_for(Engine, "after_cursor_execute")
def _(connection, cursor, statement, *_):
    if "CREATE TABLE _alembic_tmp_tags" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

with quiet_mlflow():
    connect(Path(sys.argv[1]))
"""


def test_one_whose_making_is_killed_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command = [sys.executable, "-W", "ignore", "-c", CONNECT, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    with quiet_mlflow():
        assert [one.name for one in connect(tmp_path).search_experiments()] == ["Default"]
