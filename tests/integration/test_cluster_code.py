"""Code of others on a cluster: files of code, weights and packages travel with the job."""

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
WHEEL = "example_plugin-0.1.0-py3-none-any.whl"
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
    """Give a head on which nothing is trained, and which has not the plug-in that this machine has."""
    command_line.environment["TUNER_CACHE"] = str(command_line.folder / "cache")
    head = {"PYTHONPATH": str(ROOT), "TUNER_CACHE": str(command_line.folder / "head")}
    cluster = RayCluster(command_line.folder / "token", **head)
    command_line.environment |= {"RAY_ADDRESS": cluster.address, "RAY_AUTH_TOKEN_PATH": str(cluster.token)}
    command_line.environment["PYTHONPATH"] = os.pathsep.join([str(plugin), str(ROOT)])
    yield cluster
    cluster.end()


@pytest.fixture
def later(plugin: Path, tmp_path: Path) -> Path:
    """Return a folder that a later version of the plug-in is installed into."""
    site = tmp_path / "later"
    shutil.copytree(plugin, site)
    (info,) = site.glob("*.dist-info")
    metadata = (info / "METADATA").read_text()
    (info / "METADATA").write_text(metadata.replace("Version: 0.1.0", "Version: 0.2.0"))
    info.rename(info.with_name("example_plugin-0.2.0.dist-info"))
    return site


def test_files_weights_and_the_package_travel_and_nodes_with_another_version_are_refused(
    command_line: CommandLine, cluster: RayCluster, plugin: Path, later: Path
):
    for name, text in {"bars.yaml": SPACE, "net.py": NETWORK, "attack.py": ATTACK}.items():
        (command_line.folder / name).write_text(text)
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 3))
    torch.save(layers.state_dict(), command_line.folder / "weights.pt")
    stranger = cluster.add_worker(PYTHONPATH=os.pathsep.join([str(later), str(ROOT)]))
    home = ("--home", str(command_line.home))
    said = command_line.run("launch", "bars.yaml", *home, code=2)
    assert "every node of the cluster needs the packages that the sweep names:" in said
    assert "is installed here in version 0.2.0, and 0.1.0 is needed: install it" in said
    stranger.kill("raylet")

    cluster.add_worker(TUNER_CACHE=str(command_line.folder / "worker"))
    command_line.run("resume", "bars", *home)
    command_line.run("logs", "bars", "--follow")
    assert (command_line.home / "bars" / "code" / WHEEL).is_file()
    assert list((command_line.folder / "worker" / "packages").glob("*/example_plugin/training.py"))
    with installed(plugin):
        sweep = SweepFolder.open("bars", home=command_line.home)
        (record,) = read_records(sweep)
        assert record.state == "complete", record.reason
        assert {"corners", "own/shift"} < set(record.metrics)
        assert set(sweep.space.code) == {"net.py", "attack.py", "weights.pt", "example-plugin 0.1.0"}
        assert record.run.settings["code"] == dict(sweep.space.code) == sweep.read_provenance()["user_code"]
    command_line.run("export", "bars", "--output", "bundle")
    assert (command_line.folder / "bundle" / "code" / "net.py").read_text() == NETWORK
    command_line.run("evaluate", "bars", "--images", "5")

    del command_line.environment["RAY_ADDRESS"]
    command_line.environment["PYTHONPATH"] = str(ROOT)  # another machine of the user's, without the plug-in
    said = command_line.run("compare", "bars", *home, code=2)
    assert "bars needs the package example-plugin 0.1.0, which is not installed here" in said
    assert WHEEL in command_line.run("trust", "bars", *home)
    assert "corners" in command_line.run("compare", "bars", *home)
    assert "nothing is damaged" in command_line.run("verify", "bars", *home)
