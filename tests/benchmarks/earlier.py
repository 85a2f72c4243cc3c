"""The code of an earlier commit, to be measured beside the present one."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

COMMIT = "2673672"
ROOT = Path(__file__).parents[2]


def has_commit() -> bool:
    """Return whether the history of this checkout has the commit."""
    command = ["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:  # no git
        return False


def why_missing() -> str:
    """Return what a table says in place of figures where the commit is missing."""
    return f"not measured: the history of {ROOT} has no commit {COMMIT} (git fetch --unshallow)"


def extract(folder: Path) -> None:
    """Put the packages of the commit into a folder."""
    command = ["git", "archive", COMMIT, "tuner", "trainables", "search_spaces"]
    archive = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
