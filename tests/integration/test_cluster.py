"""A cluster of a head and two workers, with a token: sweeps by the Jobs API, as a laptop submits them."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.chaos.invariants import check_end, check_nothing_lost, rows_of
from tests.integration.conftest import CommandLine
from tests.support.clusters import ROOT, RayCluster
from tuner.sweep.evaluations import read_evaluation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.tracking.server import tracking_uri

pytestmark = [
    pytest.mark.ray,
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

IDLE_HEAD = ROOT / "tests" / "support" / "idle_head"
SPACE = """\
name: small
trainable: gan
dataset: {name: digits, validation: 200}
evaluation: {epsilon: 0.05, watch_images: 50, rank_images: 100}
budget: {trials: 2, compute: 5}
search: {sampler: random}
baselines: [standard]
parameters:
  batch_size: 16
  generator: {learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
"""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    path = f"{IDLE_HEAD}{os.pathsep}{ROOT}"
    one = RayCluster(tmp_path_factory.mktemp("cluster") / "token", PYTHONPATH=path)
    one.add_worker()
    one.add_worker()
    yield one
    one.end()


@pytest.fixture
def laptop(command_line: CommandLine, cluster: RayCluster) -> CommandLine:
    return connected(command_line, cluster)


def connected(line: CommandLine, cluster: RayCluster) -> CommandLine:
    line.environment |= {"RAY_ADDRESS": cluster.address, "RAY_AUTH_TOKEN_PATH": str(cluster.token)}
    line.environment["PYTHONPATH"] = cluster.environment["PYTHONPATH"]
    (line.folder / "small.yaml").write_text(SPACE)
    return line


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 400
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def launch(laptop: CommandLine, name: str, *options: str, code: int = 0) -> str:
    return laptop.run("launch", "small.yaml", "--name", name, "--home", str(laptop.home), *options, code=code)


def num_rows(sweep: SweepFolder) -> int:
    return sum(len(rows) for rows in rows_of(read_records(sweep)).values())


def test_launched_followed_stopped_resumed_and_exported_from_elsewhere(laptop: CommandLine, cluster: RayCluster):
    # The runs must outlast three commands, each of which takes up to twenty seconds on a busy machine.
    (laptop.folder / "small.yaml").write_text(SPACE.replace("compute: 5", "compute: 30"))
    output = launch(laptop, "a")
    assert "a has begun as job tuner-a;" in output
    assert f"with --cluster {cluster.address}" in output
    assert "a is there already (job tuner-a, running)" in launch(laptop, "a")
    sweep = SweepFolder.open("a", home=laptop.home)
    wait_until(lambda: num_rows(sweep) > 2, "it reports")

    stopped = laptop.run("stop", "a")
    assert "Interrupted; `tuner resume a` goes on where it stands" in stopped
    assert not sweep.is_running()
    before = rows_of(read_records(sweep))

    assert "a has begun as job tuner-a.2;" in laptop.run("resume", "a")
    assert "is being run by process" in laptop.run("resume", "a", code=2)
    assert json.loads(laptop.run("status", "a", "--format", "json"))["state"] == "running"
    assert "3 of 3 runs" in laptop.run("logs", "a", "--follow")
    check_nothing_lost(before, {}, read_records(sweep))
    check_end(sweep, tracking_uri(laptop.home))
    assert "has another sweep named 'a'" in launch(laptop, "a", "--trials", "4", code=2)

    bundle = laptop.folder / "exports" / "one"
    assert laptop.run("export", "a", "--output", str(bundle)).strip() == str(bundle)
    assert json.loads((bundle / "provenance.json").read_text())["sweep_id"] == sweep.id
    assert len(laptop.run("trials", "a").splitlines()) == 4
    assert "no sweep named 'b'" in laptop.run("status", "b", "--home", str(laptop.home), code=2)
    assert "set TUNER_HOME on its nodes" in laptop.run("status", "b", code=2)


def test_runs_are_evaluated_and_confirmed_by_workers_and_the_head_computes_nothing(laptop: CommandLine):
    launch(laptop, "judged", "--trials", "1")
    assert "2 of 2 runs" in laptop.run("logs", "judged", "--follow")
    sweep = SweepFolder.open("judged", home=laptop.home)
    output = laptop.run("evaluate", "judged", "--tier", "final", "--images", "4", "--home", str(laptop.home))
    assert len(re.findall(r"robust on test images, \d+ s on \S+ \(cpu\)", output)) == 2, output
    evaluations = [read_evaluation(record.run) for record in read_records(sweep)]
    assert [(one.tier, one.images) for one in evaluations if one] == [("final", 4)] * 2
    options = ["--top", "1", "--seeds", "2", "--images", "50", "--home", str(laptop.home)]
    output = laptop.run("confirm", "judged", *options)
    assert len(re.findall(r"robust on test images, \d+ s on \S+ \(cpu\)", output)) == 4, output
    assert json.loads((sweep.folder / "confirm.json").read_text())["images"] == 50


def test_a_worker_node_that_dies_loses_nothing(laptop: CommandLine, cluster: RayCluster):
    launch(laptop, "killed")
    sweep = SweepFolder.open("killed", home=laptop.home)
    wait_until(lambda: sum(bool(rows) for rows in rows_of(read_records(sweep)).values()) >= 2, "two runs report")
    before = rows_of(read_records(sweep))
    cluster.nodes[1].kill("raylet")
    cluster.add_worker()
    assert "3 of 3 runs" in laptop.run("logs", "killed", "--follow")
    check_nothing_lost(before, {}, read_records(sweep))
    check_end(sweep, tracking_uri(laptop.home))


@pytest.fixture
def its_token(laptop: CommandLine, monkeypatch) -> Iterator[None]:
    """Have the cluster's token in this process, too; Ray keeps what it has read until it is told to forget."""
    from ray._raylet import AuthenticationTokenLoader

    with monkeypatch.context() as here:
        here.setenv("RAY_AUTH_TOKEN_PATH", laptop.environment["RAY_AUTH_TOKEN_PATH"])
        yield
    AuthenticationTokenLoader.instance().reset_cache()


@pytest.mark.usefixtures("its_token")
def test_other_releases_are_refused_before_anything_begins(laptop: CommandLine):
    from tuner.cluster.client import Cluster
    from tuner.cluster.logs import command_lines
    from tuner.cluster.payload import Request, releases

    there = Cluster(laptop.environment["RAY_ADDRESS"])
    request = Request({**releases(), "Python": "3.99", "adversarial-tuner": "9.9"}, {"small.yaml": SPACE})
    words = ["launch", "--home", str(laptop.home), "small.yaml"]
    entrypoint = f"exec python3 -m tuner job {shlex.join(words)}"
    assert there.submit("other", entrypoint, {"tuner.request": request.encode()}, {}, secrets.token_hex(8), {})
    wait_until(lambda: there.job("other").has_ended, "it ends")
    assert there.job("other").exit_code == 2
    (line,) = command_lines(there.log("other"))
    assert "against 3.99 here" in line
    assert "adversarial-tuner 0.1.0 against 9.9 here" in line
    assert not laptop.home.exists()


def test_without_its_token_every_door_is_closed(laptop: CommandLine, cluster: RayCluster):
    for path in ("/api/version", "/api/jobs/", "/api/cluster_status", "/nodes?view=summary", "/api/v0/logs"):
        assert cluster.get(path) == 401
        assert cluster.get(path, "1" * 64) == 403
    laptop.environment["RAY_AUTH_TOKEN_PATH"] = str(laptop.folder / "none")
    assert "wants a token (401)" in laptop.run("status", code=2)
    laptop.environment["RAY_AUTH_TOKEN"] = "1" * 64
    assert "is not that of" in launch(laptop, "a", code=2)
    assert not laptop.home.exists()
    assert nodes_of(cluster) == nodes_of(cluster, "1" * 64) == grpc.StatusCode.UNAUTHENTICATED
    assert nodes_of(cluster, cluster.token.read_text()) == grpc.StatusCode.OK


def nodes_of(cluster: RayCluster, token: str = "") -> grpc.StatusCode:
    """Ask the head's own port, where nodes and drivers join, for the cluster's nodes."""
    with grpc.insecure_channel(cluster.gcs) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
        try:
            ask(b"", timeout=20, metadata=[("authorization", f"Bearer {token}")] if token else [])
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def test_when_the_head_dies_the_sweep_goes_on_on_another_cluster(command_line: CommandLine, tmp_path: Path):
    first = RayCluster(tmp_path / "token", RAY_gcs_rpc_server_reconnect_timeout_s="5")
    try:
        first.add_worker()
        laptop = connected(command_line, first)
        launch(laptop, "a")
        sweep = SweepFolder.open("a", home=laptop.home)
        wait_until(lambda: num_rows(sweep) > 1, "it reports")
        first.head.kill("gcs_server")
        wait_until(lambda: not sweep.is_running(), "the driver ends")
        before = rows_of(read_records(sweep))
        assert "cannot be reached" in laptop.run("status", "a", code=2)
    finally:
        first.end()
    second = RayCluster(tmp_path / "token", TUNER_HOME=str(laptop.home))
    try:
        second.add_worker()
        connected(laptop, second)
        assert "a has begun as job tuner-a;" in laptop.run("resume", "a")
        assert "3 of 3 runs" in laptop.run("logs", "a", "--follow")
        check_nothing_lost(before, {}, read_records(sweep))
        check_end(sweep, tracking_uri(laptop.home))
    finally:
        second.end()
