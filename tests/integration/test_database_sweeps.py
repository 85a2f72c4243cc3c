"""Four drivers' sweeps at once, study and MLflow both in PostgreSQL, which crashes in their midst."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.invariants import check_end
from tests.integration.conftest import CommandLine
from tests.support.marks import files_with
from tests.support.postgres import PostgresServer
from tests.support.raylets import raylets
from tests.support.servers import MlflowServer
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.tracking.server import EXPERIMENT

pytestmark = [
    pytest.mark.database,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
NAMES = ("a", "b", "c", "d")
SPACE = """\
name: small
trainable: gan
dataset: {name: digits, validation: 200}
evaluation: {epsilon: 0.05, watch_images: 20, rank_images: 30}
budget: {trials: 3, compute: 6}
search: {sampler: tpe, pruner: {successive_halving: {min_resource: 3, reduction_factor: 2}}}
baselines: [standard]
parameters:
  batch_size: 64
  classifier: {architecture: mlp}
  generator: {width: 4, learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
"""


@pytest.fixture
def mlflow(postgres: PostgresServer, tmp_path: Path) -> Iterator[MlflowServer]:
    """A server that keeps runs in PostgreSQL, and hands artifacts on to its own folder."""
    server = MlflowServer(tmp_path / "mlflow", postgres.database())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def ray_address() -> Iterator[str]:
    """One machine with room for a run of each sweep, if only by its own account."""
    with raylets(4) as cluster:
        yield cluster.address()


def home_of(name: str, folder: Path) -> Path:
    """Return the sweeps' home on the host of one driver: they share nothing but the servers."""
    return folder / f"host-{name}"


def num_ended(folder: Path) -> int:
    homes = {name: home_of(name, folder) for name in NAMES}
    sweeps = [
        SweepFolder.open(name, home=home) for name, home in homes.items() if (home / name / "sweep.json").exists()
    ]
    return sum(record.state != "running" for sweep in sweeps for record in read_records(sweep))


def test_nothing_is_lost_and_nothing_is_there_twice(
    postgres: PostgresServer, mlflow: MlflowServer, ray_address: str, command_line: CommandLine
):
    command_line.environment |= {"RAY_ADDRESS": ray_address, "MLFLOW_TRACKING_URI": mlflow.uri}
    command_line.environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    (command_line.folder / "small.yaml").write_text(SPACE)
    url = postgres.database()
    homes = {name: home_of(name, command_line.folder) for name in NAMES}
    drivers = []
    for name, home in homes.items():
        options = ("--name", name, "--study-storage", url, "--home", str(home))
        drivers.append(command_line.start("launch", "small.yaml", *options))
        command_line.draw_nothing()  # the first one's pictures are enough
    deadline = time.monotonic() + 400
    while num_ended(command_line.folder) < 4:
        assert time.monotonic() < deadline
        assert all(driver.process.poll() is None for driver in drivers), [driver.output for driver in drivers]
        time.sleep(0.2)
    postgres.crash()
    time.sleep(3)
    postgres.start()
    for name, driver in zip(NAMES, drivers, strict=True):
        output = driver.finish(0)
        assert "4 of 4 runs" in output
        assert "Traceback" not in output
        assert postgres.password not in output
        if "MLflow is not up to date" in output:
            command_line.run("sync", name, "--home", str(homes[name]))
    for name, home in homes.items():
        sweep = SweepFolder.open(name, home=home)
        check_end(sweep, mlflow.uri)
        assert not sweep.journal.exists()
        assert not files_with(home, postgres.password)
        assert (
            json.loads(command_line.run("status", name, "--home", str(home), "--format", "json"))["state"]
            == "completed"
        )
    assert pictures(mlflow.uri)


def pictures(uri: str) -> list[str]:
    """Return the artifacts of a sweep's run, which the server took itself."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    runs = client.search_runs([experiment.experiment_id], "tags.`tuner.run` = 'sweep'")
    assert len(runs) == len(NAMES)
    return [one.path for run in runs for one in client.list_artifacts(run.info.run_id)]
