"""The Python API with Ray: launched from a mapping, stopped on request, resumed and extended, in this process."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import pytest

from tuner import Sweep
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_here"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

SPACE = {
    "name": "api",
    "trainable": "standard",
    "dataset": {"name": "digits", "validation": 200},
    "evaluation": {"watch_images": 20, "rank_images": 30},
    "budget": {"trials": 2, "compute": 12},
    "search": {"sampler": "random"},
    "parameters": {"classifier": {"architecture": "mlp", "learning_rate": {"float": [1e-3, 2e-3]}}},
}


def once_it_reports(name, home, call):
    """Call something in a thread as soon as a run of a sweep has reported; return the thread."""

    def wait_and_call():
        while not (home / name / "study.journal").exists() or not any(
            record.metrics for record in read_records(SweepFolder.open(name, home=home))
        ):
            time.sleep(0.05)
        call()

    thread = threading.Thread(target=wait_and_call)
    thread.start()
    return thread


def test_launched_stopped_resumed_and_extended(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    asking = once_it_reports("a", tmp_path, lambda: Sweep.open("a", home=tmp_path).stop())
    sweep = Sweep.launch(SPACE, name="a", home=tmp_path)
    asking.join()
    assert (sweep.ending.stopped, sweep.ending.completed, sweep.ending.signal) == (True, False, None)
    status = sweep.status()
    assert (status.state, status.why) == ("interrupted", "stopped on request")
    before = status.cost.compute
    assert 0 < before < 24

    assert sweep.resume().ending.completed
    assert sweep.status().state == "completed"
    assert sweep.status().cost.compute == pytest.approx(24)
    table = sweep.trials()
    assert list(table["state"]) == ["complete"] * 2
    assert sweep.best.value == table["robust"].max()

    assert sweep.resume(trials=3).ending.completed
    assert len(sweep.trials()) == 3
    assert sweep.export(output=tmp_path / "bundle").is_dir()
    with pytest.raises(UserError, match="no driver is at work"):
        sweep.pause()


def test_an_interrupt_saves_what_was_reported_and_then_reaches_the_script(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    interrupting = once_it_reports("b", tmp_path, lambda: os.kill(os.getpid(), signal.SIGINT))
    how = f"b is interrupted: `Sweep.open('b', home={str(tmp_path)!r}).resume()` goes on where"
    with pytest.raises(KeyboardInterrupt, match=re.escape(how)):
        Sweep.launch(SPACE, name="b", home=tmp_path)
    interrupting.join()
    sweep = Sweep.open("b", home=tmp_path)
    assert sweep.status().state == "interrupted"
    assert sweep.status().cost.compute > 0
    assert sweep.resume().ending.completed
