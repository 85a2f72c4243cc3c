"""Files and folders that appear whole or not at all: a temporary name, then a rename. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file for people to read, whole."""
    write_whole(path, json.dumps(content, indent=2).encode() + b"\n")


@contextlib.contextmanager
def whole_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill, and rename it to the target if nothing was raised.

    Args:
        target: made with its parents.
        replace: put it in the place of a folder that is there; otherwise one with content is an OSError.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        yield temporary
        if replace and target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
