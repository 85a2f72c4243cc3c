"""A head and a machine that cannot reach each other for a while: nothing is lost, and nothing is counted twice."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.invariants import Rows, check_end, check_nothing_lost, repeated, rows_of
from tests.support.namespaces import Network, needs_namespaces, network
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # MLflow's own
    needs_namespaces,
]

SPACE = """\
name: cut
trainable: standard
dataset: {name: digits, validation: 200}
evaluation: {epsilon: 0.05, watch_images: 50, rank_images: 100}
budget: {trials: 3, compute: 15}
search: {sampler: random, pruner: none}
baselines: [standard]
parameters:
  batch_size: 64
  classifier: {architecture: mlp, learning_rate: {float: [1.0e-4, 2.0e-4]}}
"""
PORT = 6379


class Cut:
    """A sweep whose driver is on the head; one of its two runs is on the other machine."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder = folder
        self.network = network
        head = network.ADDRESSES[0]
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        self.environment = mine | {"PYTHONPATH": str(Path(__file__).parents[2]), "RAY_worker_niceness": "0"}
        self.environment["COUNTED_PAUSE_S"] = "1"
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
        self._start_node(0, "head", "--host", head, "--port", str(PORT))
        self._start_node(1, "join", f"{head}:{PORT}")
        self.environment["RAY_ADDRESS"] = f"{head}:{PORT}"
        (folder / "cut.yaml").write_text(SPACE)

    def _start_node(self, number: int, *how: str) -> None:
        command = [sys.executable, "-m", "tuner", "cluster", *how, "--cpus", "1"]
        command += ["--object-store-memory", str(100 * 1024**2)]
        output = self.folder / f"node-{number}"
        process = self.network.machines[number].start(command, self.environment, output)
        wait_for(lambda: "until Ctrl-C" in output.read_text() or process.poll() is not None)
        assert process.poll() is None, output.read_text()

    def launch(self) -> None:
        """Start the driver."""
        command = [sys.executable, "-m", "tests.chaos.counted", "launch", str(self.folder / "cut.yaml")]
        command += ["--name", "cut", "--home", str(self.folder / "sweeps")]
        self.driver = self.network.machines[0].start(command, self.environment, self.folder / "driver")

    @property
    def output(self) -> str:
        return (self.folder / "driver").read_text()

    @property
    def sweep(self) -> SweepFolder:
        return SweepFolder.open("cut", home=self.folder / "sweeps")

    @property
    def records(self) -> list[Record]:
        return read_records(self.sweep) if (self.folder / "sweeps" / "cut" / "study.journal").exists() else []

    @property
    def rows(self) -> Rows:
        return rows_of(self.records)


@pytest.fixture
def cut(tmp_path) -> Iterator[Cut]:
    with network() as made:
        yield Cut(tmp_path, made)


def wait_for(condition: Callable[[], bool], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to that in {seconds:g} s"
        time.sleep(0.2)


@pytest.mark.parametrize("seconds", [8, 60])
def test_a_cut_loses_nothing_and_counts_nothing_twice(cut, seconds):
    cut.launch()
    wait_for(lambda: sum(len(rows) >= 2 for rows in cut.rows.values()) == 2 or cut.driver.poll() is not None)
    assert cut.driver.poll() is None, cut.output
    rows, ended = cut.rows, {one.run.key: one.state for one in cut.records if one.state != "running"}
    cut.network.cut()
    time.sleep(seconds)
    cut.network.join()
    assert cut.driver.wait(1200) == 0, cut.output
    check_nothing_lost(rows, ended, cut.records)
    assert repeated(cut.records) <= 1  # what the machine was about when it was cut off
    check_end(cut.sweep, f"sqlite:///{cut.folder}/sweeps/mlflow.db")
