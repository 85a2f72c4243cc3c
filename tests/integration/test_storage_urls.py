"""A sweep in an object store, its study in a database: whatever machine drives it, and whatever becomes of that one."""

from __future__ import annotations

import contextlib
import json
import shutil
import time

import pytest

from tests.integration.conftest import CommandLine
from tests.support.clusters import RayCluster
from tests.support.marks import files_with
from tests.support.postgres import PostgresServer
from tests.support.s3 import BUCKET, S3Server
from trainables.storage.object_store import store_at
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics

pytestmark = [pytest.mark.cluster, pytest.mark.database]

HOME = f"s3://{BUCKET}/team/sweeps"
SPACE = """\
name: stored
trainable: standard
dataset: {name: digits, validation: 200}
evaluation: {watch_images: 50, rank_images: 100}
budget: {trials: 2, compute: 20}
search: {sampler: random, pruner: none}
parameters:
  report_every: 0.5
  batch_size: 32
  classifier: {architecture: mlp, learning_rate: {float: [1.0e-3, 2.0e-3]}}
"""


@pytest.fixture
def stored(command_line: CommandLine, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch):
    """Give a cluster that keeps nothing but Ray's own files, a store, and the options of a launch."""
    with contextlib.closing(S3Server()) as server:
        own = {
            **server.environment,
            **postgres.environment,
            "TUNER_HOME": HOME,
            "TUNER_CACHE": str(command_line.folder / "cache"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{command_line.folder}/mlflow.db",
        }
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        server.make_bucket()
        (command_line.folder / "space.yaml").write_text(SPACE)
        cluster = RayCluster(command_line.folder / "token", cpus=2, **server.environment)
        command_line.environment = cluster.environment_inside | own
        yield cluster, server, ["space.yaml", "--study-storage", postgres.database()]
        cluster.end()


def rows_of(name: str = "stored") -> dict[str, list]:
    return {record.run.key: read_metrics(record.run) for record in read_records(SweepFolder.open(name, home=home()))}


def wait_until(command, condition) -> None:
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        assert command.process.poll() is None, command.output
        if "stored" in store_at(HOME).folders() and condition(rows_of()):
            return
        time.sleep(0.3)
    raise AssertionError("the sweep did not get there in time")


def test_a_machine_that_is_lost_takes_nothing_with_it(command_line, stored):
    cluster, server, options = stored
    command_line.module = "tests.support.undrawn"  # the cluster's environment knows where it is
    command = command_line.start("launch", *options)
    wait_until(command, lambda rows: sum(map(len, rows.values())) > 4)
    with server.away():
        time.sleep(3)
    command.process.kill()
    command.process.wait(30)
    before = rows_of()
    assert sum(map(len, before.values())) > 4
    # Another machine has nothing of it.
    shutil.rmtree(command_line.folder / "cache")

    command = command_line.start("resume", "stored")
    wait_until(command, lambda rows: sum(map(len, rows.values())) > sum(map(len, before.values())) + 2)
    command_line.run("stop", "stored")
    command.finish(3)
    shutil.rmtree(command_line.folder / "cache")
    command_line.run("resume", "stored")

    shutil.rmtree(command_line.folder / "cache")
    about = json.loads(command_line.run("status", "--format", "json"))
    assert [(one["name"], one["state"]) for one in about] == [("stored", "completed")]
    after = rows_of()
    assert len(after) == 2
    for key, rows in after.items():
        assert [row["step"] for row in rows] == list(range(1, 41))
        assert rows[: len(before.get(key, []))] == before.get(key, [])
    said = command_line.run("logs", "stored", "0")
    assert said.count(" report ") >= 40
    assert said.count(" attempt: ") >= 2
    command_line.run("export", "stored", "--output", "bundle")
    assert (command_line.folder / "bundle" / "classifier.safetensors").exists()
    secrets = [command_line.environment[name] for name in ("AWS_SECRET_ACCESS_KEY", "PGPASSWORD")]
    assert not [*files_with(command_line.folder, *secrets), *files_with(cluster.folder, *secrets)]
