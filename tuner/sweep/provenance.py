"""Where a result comes from: code, versions, machine and data."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TypedDict

from trainables.data import files as data_files

FORMAT = 1
_PACKAGES = ("adversarial-tuner", "torch", "ray", "optuna", "mlflow", "numpy")


def git_commit() -> str | None:
    """Return the commit of the source that is running, with ``-dirty`` if it was changed; None outside a checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        # An installed package lies in no checkout of its own, though perhaps below somebody else's.
        subprocess.run(
            ["git", "-C", str(folder), "ls-files", "--error-unmatch", __file__], check=True, capture_output=True
        )
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that a result depends on."""
    result = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result


class DatasetOrigin(TypedDict):
    """A dataset's name, and the SHA-256 of its files."""

    name: str
    sha256: str


class Provenance(TypedDict):
    """The content of ``provenance.json``: the code, packages, machine, command, space and data of a result."""

    format: int
    git_commit: str | None
    versions: dict[str, str]
    platform: str
    command: list[str]
    space: str
    dataset: DatasetOrigin


def provenance(*, source: str, dataset: str) -> Provenance:
    """Return what a person needs to make a result again."""
    return {
        "format": FORMAT,
        "git_commit": git_commit(),
        "versions": versions(),
        "platform": platform.platform(),
        "command": sys.argv,
        "space": source,
        "dataset": {"name": dataset, "sha256": data_files.digest(dataset)},
    }
