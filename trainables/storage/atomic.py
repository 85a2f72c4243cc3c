"""Files and folders that appear whole or not at all: a temporary name, then a rename. Imports no torch."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainables.errors import StorageError, UserError
from trainables.storage.checked_json import as_json

_NOT_WRITTEN = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE")
    if hasattr(errno, name)
}


def is_storage_trouble(error: BaseException) -> bool:
    """Return whether an error says that a disk is full, not writable or broken: trying again later may help."""
    return isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in _NOT_WRITTEN)


def reason_of(error: Exception) -> str:
    """Return why a file could not be written, without the name of the temporary file, which says nothing to a person.

    Args:
        error: any; of an `OSError`, what the operating system says.
    """
    return getattr(error, "strerror", None) or str(error)


def append_whole(path: Path, content: bytes, *, sync: bool = False, publish: Callable[[], None] = lambda: None) -> None:
    """Add to the end of a file, all or nothing: what a full disk cut off is cut back, unless the process is killed.

    Args:
        path: made if it is missing; its folder must exist.
        content: to be added.
        sync: wait until the disk has it.
        publish: called when the content has been added; if it raises an OSError, the file is cut back.
    """
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            if sync:
                os.fsync(file.fileno())
            publish()
        except OSError:
            file.truncate(end)
            raise


def write_whole(path: Path, content: bytes, *, publish: Callable[[], None] = lambda: None) -> None:
    """Write a file so that a crash leaves the old one or the new one.

    Args:
        path: of the file; its folder must exist.
        content: of the file.
        publish: called when the content is on the disk under a temporary name; if it raises, the old file stays.
    """
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        publish()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_private(folder: Path) -> None:
    """Make a folder that no other user can enter, with its parents; one that is there stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file for people to read, whole and with a checksum: see `trainables.storage.checked_json`."""
    write_whole(path, as_json(content))


@contextlib.contextmanager
def whole_folder(
    target: Path,
    *,
    replace: bool = False,
    staging: Path | None = None,
    publish: Callable[[Path], None] = lambda temporary: None,
) -> Iterator[Path]:
    """Give a temporary folder to fill, and rename it to the target if nothing was raised.

    Args:
        target: made with its parents.
        replace: put it in the place of a folder that is there; otherwise one with content is an OSError.
        staging: a folder on the same disk where the temporary one is made; if it is gone, nothing is written.
        publish: called with the temporary folder before it is renamed; if it raises, nothing is renamed.
    """
    temporary = staging / target.name if staging else _temporary(target)
    replaced = _temporary(temporary)
    try:
        temporary.mkdir(parents=staging is None)
        yield temporary
        publish(temporary)
        if replace and target.exists():
            target.rename(replaced)
        temporary.rename(target)
    finally:
        for left in (temporary, replaced):
            shutil.rmtree(left, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return a name beside a path that nobody else uses; machines that share a disk may share a process's number."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def cache_folder(name: str) -> Path:
    """Return where fetched files of the dataset ``name`` are kept, whether the folder exists or not.

    Raises:
        UserError: it lies in the home directory of a user who has none.
    """
    root = os.environ.get("TUNER_CACHE")
    if not root:
        import pooch

        root = str(pooch.os_cache("adversarial-tuner"))
    try:
        return Path(root).expanduser().absolute() / name
    except RuntimeError:
        raise UserError(
            f"{root}: this user has no home directory; set TUNER_CACHE to a folder that can be written"
        ) from None
