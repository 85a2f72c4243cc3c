"""The Dockerfile is built and its image runs the demo's first trial, without a container engine or a registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.manifests import DOCKER
from trainables.data import files as data_files
from tuner import Sweep

TOOLS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "bwrap": "bubblewrap"}


def missing() -> str | None:
    """Return what is missing here to build an image, if anything."""
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "building an image needs root"
    packages = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if packages:
        return f"Debian's packages are missing: {' '.join(packages)}"
    shown = subprocess.run(["apt-cache", "show", "python3"], capture_output=True, text=True, check=False).stdout
    version = f"{sys.version_info.major}.{sys.version_info.minor}."
    return None if f"\nVersion: {version}" in shown else f"wheels for {version[:-1]} do not fit Debian's own Python"


@pytest.fixture
def folder(tmp_path):
    """Give a folder that does not stay, as those of tests do for a while: gigabytes are in it."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.image
@pytest.mark.mnist
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_image_is_built_and_trains(folder):
    command = ["sh", DOCKER / "build_local.sh", folder, data_files.ensure("mnist")]
    environment = {**os.environ, "PIP": str(Path(sys.executable).parent / "pip")}
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "uid=10001(tuner) gid=10001(tuner) groups=10001(tuner)" in built.stdout
    sweep = Sweep.open("quick", home=folder / "shared/sweeps")
    assert sweep.status().state == "completed"
    assert sweep.best.metrics["clean"] > 0.9
    assert (folder / "shared/best/classifier.safetensors").exists()
