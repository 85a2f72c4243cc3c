"""The wheel carries every file of the packages: sub-packages, search spaces, and the markers of type information."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support.wheels import PACKAGES, ROOT, copy_source, pip


def files_below(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for package in PACKAGES for path in (folder / package).rglob("*"))
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts and (folder / path).is_file()}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    pip("wheel", "-w", built, copy_source(source))
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "unpacked")
    return built / "unpacked"


def test_the_wheel_has_the_files_of_the_tree(unpacked):
    assert files_below(unpacked) == files_below(ROOT)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_has_types(unpacked, package):
    assert (unpacked / package / "py.typed").is_file()


def test_the_wheel_installs_the_command(unpacked):
    (entry_points,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "tuner = tuner.__main__:main" in entry_points.read_text()
