"""Packages that add names by entry points, as if they were installed, for tests within one process."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy  # noqa: F401 - it cannot be loaded again after `installed` has forgotten it
import pytest

from tests.support.wheels import EXAMPLE
from trainables.config.plugins import packages, registries


def write_package(folder: Path, name: str, entry_points: str, version: str = "1.5") -> Path:
    """Write what an installer leaves of a package into a folder of its own, which is returned."""
    place = folder / name
    info = place / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)
    return place


def example_package(folder: Path) -> Path:
    """Write the example plug-in into a folder of its own as if it were installed, and return that folder."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    groups = project["entry-points"].items()
    points = [line for group, names in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))]
    place = write_package(folder, project["name"], "\n".join(points), project["version"])
    shutil.copytree(EXAMPLE / "example_plugin", place / "example_plugin")
    return place


@contextmanager
def installed(*places: Path) -> Iterator[None]:
    """Let this process find the packages in these folders, and forget what it knew of plug-ins, also afterwards."""
    with pytest.MonkeyPatch.context() as patches:
        for place in places:
            patches.syspath_prepend(str(place))
        forget()
        with patch.dict("sys.modules"):
            yield
    forget()


def forget() -> None:
    """Let the tables look for installed packages again."""
    registries.look_again()
    packages.digest_of_package.cache_clear()
