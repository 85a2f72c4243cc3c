"""Code of others on a cluster: files of code and weights travel with the job, packages are needed on every node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.integration.conftest import CommandLine
from tests.support.clusters import ROOT, RayCluster
from tests.support.plugins import installed
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

pytestmark = [
    pytest.mark.ray,
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
NETWORK = """\
from torch import nn


def build(image_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, num_classes))
"""
SPACE = """\
name: bars
trainable: noise_training
dataset: {name: bars}
evaluation: {epsilon: 0.1, watch_images: 15, rank_images: 15, attacks: [corners, "attack.py:shift"]}
budget: {trials: 1, compute: 1}
search: {sampler: random, pruner: none}
parameters:
  classifier: {architecture: "net.py:build", start: weights.pt}
  deviation: {float: [0.1, 0.2]}
  batch_size: 16
"""
ATTACK = "def shift(logits_fn, images, labels, epsilon):\n    return (images + epsilon).clamp(0, 1)\n"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the example plug-in is installed into."""
    source, site = tmp_path_factory.mktemp("source") / "example", tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "tests" / "plugins" / "example", source, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(source)], check=True, capture_output=True)
    return site


@pytest.fixture
def cluster(command_line: CommandLine, plugin: Path) -> Iterator[RayCluster]:
    """Give a head on which nothing is trained, with the plug-in."""
    command_line.environment["TUNER_CACHE"] = str(command_line.folder / "cache")
    path = os.pathsep.join([str(plugin), str(ROOT)])
    cluster = RayCluster(command_line.folder / "token", PYTHONPATH=path, TUNER_CACHE=str(command_line.folder / "head"))
    command_line.environment |= {"RAY_ADDRESS": cluster.address, "RAY_AUTH_TOKEN_PATH": str(cluster.token)}
    command_line.environment["PYTHONPATH"] = path
    yield cluster
    cluster.end()


def test_files_and_weights_travel_and_nodes_without_the_package_are_refused(
    command_line: CommandLine, cluster: RayCluster, plugin: Path
):
    for name, text in {"bars.yaml": SPACE, "net.py": NETWORK, "attack.py": ATTACK}.items():
        (command_line.folder / name).write_text(text)
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 3))
    torch.save(layers.state_dict(), command_line.folder / "weights.pt")
    stranger = cluster.add_worker(PYTHONPATH=str(ROOT))
    launch = ("launch", "bars.yaml", "--home", str(command_line.home))
    said = command_line.run(*launch, code=2)
    assert "every node of the cluster needs the packages that the sweep names:" in said
    assert "the package example-plugin 0.1.0 is not installed here: install it, in that version" in said
    stranger.kill("raylet")

    cluster.add_worker(TUNER_CACHE=str(command_line.folder / "worker"))
    command_line.run("resume", "bars", "--home", str(command_line.home))
    command_line.run("logs", "bars", "--follow")
    with installed(plugin):
        sweep = SweepFolder.open("bars", home=command_line.home)
        (record,) = read_records(sweep)
        assert record.state == "complete", record.reason
        assert {"corners", "own/shift"} < set(record.metrics)
        assert set(sweep.space.code) == {"net.py", "attack.py", "weights.pt", "example-plugin 0.1.0"}
        assert record.run.settings["code"] == dict(sweep.space.code) == sweep.read_provenance()["user_code"]
    command_line.run("export", "bars", "--output", "bundle")
    assert (command_line.folder / "bundle" / "code" / "net.py").read_text() == NETWORK
