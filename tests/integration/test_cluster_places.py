"""A sweep's folder and its data as the nodes of a cluster see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import CommandLine
from tests.support.clusters import RayCluster
from tests.support.disks import NEEDS_ROOT
from trainables.data import files as data_files
from trainables.errors import DataError
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics

pytestmark = [pytest.mark.cluster, pytest.mark.mnist]

SPACE = """\
name: places
trainable: standard
dataset: {name: mnist, validation: 5000}
evaluation: {watch_images: 20, rank_images: 20}
budget: {trials: 2, compute: 40}
search: {sampler: random, pruner: none}
parameters:
  report_every: 0.1
  classifier: {architecture: mlp, learning_rate: {float: [1.0e-3, 2.0e-3]}}
"""


@pytest.fixture
def cluster(command_line: CommandLine) -> Iterator[RayCluster]:
    """Give a head on which nothing is trained."""
    cluster = RayCluster(command_line.folder / "token")
    command_line.environment = cluster.environment_inside
    command_line.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{command_line.folder}/mlflow.db"
    yield cluster
    cluster.end()


def with_a_disk_of_its_own_at(folder: Path) -> list[str]:
    """Return what runs a command that sees an empty disk at a folder, as a machine does that does not share it."""
    folder.mkdir(exist_ok=True)
    return ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{folder}" && exec "$@"', "sh"]


@NEEDS_ROOT
def test_nodes_share_the_folder_or_are_refused_and_fill_their_caches_from_it(command_line, cluster):
    try:
        cached = data_files.ensure("mnist")
    except DataError as error:
        pytest.skip(f"MNIST cannot be had here: {str(error).splitlines()[0]}")
    command_line.environment["TUNER_CACHE"] = str(cached.parent)
    home, space = command_line.home, command_line.folder / "space.yaml"
    space.write_text(SPACE)
    not_shared = f"{home / 'places'} is not the folder that the driver writes into"

    stranger = cluster.add_worker(before=with_a_disk_of_its_own_at(home))
    said = command_line.run("launch", str(space), code=2)
    assert f"every node of the cluster must write into {home / 'places'}" in said
    assert said.count(not_shared) == 1  # the head shares it
    stranger.kill("raylet")

    # Neither data nor a network: whatever this node asks for elsewhere, it does not get.
    cache, nowhere = command_line.folder / "cache of the node", "http://127.0.0.1:9"
    good = cluster.add_worker(TUNER_CACHE=str(cache), https_proxy=nowhere, http_proxy=nowhere)
    command = command_line.start("resume", "places")
    command_line.wait_until("places", lambda records: any(record.metrics for record in records), command)
    names = {path.name for path in (home / ".data" / "mnist").iterdir()}
    assert {path.name for path in (cache / "mnist").iterdir()} == names == {path.name for path in cached.iterdir()}

    good.kill("raylet")
    cluster.add_worker(before=with_a_disk_of_its_own_at(home))
    assert not_shared in command.finish(1)
    records = read_records(SweepFolder.open("places", home=home))
    assert {record.state for record in records} == {"running"}
    assert any(read_metrics(record.run) for record in records)
