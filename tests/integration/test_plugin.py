"""The example plug-in in a fresh environment, by the command line alone: from its space to the strongest attacks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import CommandLine
from tests.support.wheels import EXAMPLE, copy_source, new_environment

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that has the product's wheel and the plug-in."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "product").mkdir()
    shutil.copytree(EXAMPLE, folder / "example", ignore=shutil.ignore_patterns("__pycache__"))
    return new_environment(folder / "environment", copy_source(folder / "product"), folder / "example")


def test_an_installed_plugin_from_its_space_to_the_strongest_attacks(command_line: CommandLine, python: Path):
    command_line.python = str(python)
    command_line.environment.pop("PYTHONPATH", None)
    command_line.environment |= {
        "TUNER_CACHE": str(command_line.folder / "cache"),
        "TUNER_HOME": str(command_line.home),
    }
    listed = command_line.run("spaces", "list")
    for kind, name in {
        "datasets": "bars",
        "classifiers": "tiny_cnn",
        "attacks": "corners",
        "recipes": "noise_training",
        "spaces": "bars_noise",
    }.items():
        assert f"{kind}: {name}, of example-plugin 0.1.0" in listed
    command_line.run("launch", "bars_noise")
    assert "corners" in command_line.run("compare", "bars_noise")
    command_line.run("export", "bars_noise", "--output", "bundle")
    command_line.run("verify", "bundle")
    assert "corners" in command_line.run("evaluate", "bundle", "--tier", "final", "--images", "4")
    (key,) = json.loads((command_line.folder / "bundle" / "configuration.json").read_text())["code"]
    assert key == "example-plugin 0.1.0"
    (path,) = python.parents[1].glob("lib/*/site-packages/example_plugin/training.py")
    kept = path.read_text()
    path.write_text(kept + "\n")
    try:
        assert "the code of the package example-plugin 0.1.0 is another one here" in command_line.run(
            "resume", "bars_noise", "--trials", "3", code=2
        )
    finally:
        path.write_text(kept)


def test_it_passes_the_tests_for_plugins(python: Path):
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_plugin.py"]
    done = subprocess.run(command, cwd=python.parents[2] / "example", check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"1[4-9] passed", done.stdout)
