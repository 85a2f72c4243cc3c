"""The Python API with Ray: launched from a mapping, stopped on request, resumed and extended, in this process."""

from __future__ import annotations

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


def test_launched_stopped_resumed_and_extended(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    asked = threading.Event()

    def stop_once_it_reports():
        while not (tmp_path / "a" / "study.journal").exists() or not any(
            record.metrics for record in read_records(SweepFolder.open("a", home=tmp_path))
        ):
            time.sleep(0.05)
        Sweep.open("a", home=tmp_path).stop()
        asked.set()

    asking = threading.Thread(target=stop_once_it_reports)
    asking.start()
    sweep = Sweep.launch(SPACE, name="a", home=tmp_path)
    asking.join()
    assert asked.is_set()
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
