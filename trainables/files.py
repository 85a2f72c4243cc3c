"""Files and folders that appear whole or not at all: a temporary name, then a rename. Imports no torch."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NOT_WRITTEN = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE")
    if hasattr(errno, name)
}


def is_storage_trouble(error: BaseException) -> bool:
    """Return whether an error says that a disk is full, not writable or broken: trying again later may help."""
    return isinstance(error, OSError) and error.errno in _NOT_WRITTEN


def append_whole(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Add to the end of a file, all or nothing: what a full disk cut off is cut back, unless the process is killed.

    Args:
        path: made if it is missing; its folder must exist.
        content: to be added.
        sync: wait until the disk has it.
    """
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            if sync:
                os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
