"""The folder of all sweeps, which may be this machine's working copy of an object store.

Whether it is one, and of which store, is what its caller says: no file in it or in a folder around it does.

In a working copy, what is written goes to the object store first, and what other machines have written is fetched from
there. What the object store does not have (any more) is never deleted here: it is moved into a folder ``.aside-DATE``
of the working copy. Files and folders whose names begin with a dot stay on this machine.

Whoever drives a sweep holds its copy (`SweepStore.held`): what the driver writes is newer there than in the object
store, so nobody else updates the copy meanwhile. Checkpoints and logs, which workers write, are fetched on demand.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from trainables.errors import StorageError, UserError
from trainables.storage.atomic import append_whole, whole_folder, write_whole
from trainables.storage.bounded import read_bounded
from trainables.storage.checked_json import MAX_BYTES, as_json
from trainables.storage.object_store import Stamp, Store, below, store_at

_WRITTEN_BY_WORKERS = {"checkpoint", "log.txt", "attempt"}
_SWEEP_FILES = ("sweep.json", "study.journal")
_NUM_CONNECTIONS = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepStore:
    """Where sweeps are kept: a folder and, if the caller has made it a working copy, the URL of its object store.

    Paths that the methods take lie in the folder `root`. Where nothing else is said, they raise `OSError` if the disk
    cannot be written, and `StorageError`, which is an `OSError`, if the object store cannot be reached or written.
    """

    root: Path
    url: str | None = None

    @classmethod
    def of(cls, home: Path | SweepStore) -> SweepStore:
        """Return a store as it is, and a folder as a store that is no working copy, whatever lies in the folder."""
        return home if isinstance(home, SweepStore) else cls(home)

    def __str__(self) -> str:
        return self.location(self.root)

    def location(self, path: Path) -> str:
        """Return where a file or folder is kept: its URL in the object store, if there is one, else its path."""
        return str(path) if self.url is None else below(self.url, self._name(path))

    def names(self) -> list[str]:
        """Return the names of all sweeps, sorted."""
        if self.url is None:
            # One that lacks a file is damaged, not gone.
            candidates = {path.parent.name for file in _SWEEP_FILES for path in self.root.glob(f"*/{file}")}
            return sorted(name for name in candidates if not _is_hidden(Path(name)))
        store = self._store
        folders = store.folders()
        with ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
            contents = pool.map(lambda name: store.read(f"{name}/sweep.json"), folders)
            return [name for name, content in zip(folders, contents, strict=True) if content is not None]

    def write(self, path: Path, content: bytes) -> None:
        """Write a file so that a crash leaves the old one or the new one.

        Raises:
            OSError: it cannot be written.
            UserError: a folder lies in its place.
        """
        try:
            write_whole(path, content, publish=functools.partial(self.upload, path, content))
        except IsADirectoryError as error:
            raise UserError(f"{path} is a folder, where a file is to be written: move it away") from error

    def write_json(self, path: Path, content: Any) -> None:
        """Write a JSON file like `write`."""
        self.write(path, as_json(content))

    def append(self, path: Path, content: bytes, *, sync: bool = False) -> None:
        """Add to the end of a file, all or nothing; with `sync`, wait until the disk has it."""
        append_whole(path, content, sync=sync, publish=functools.partial(self.upload_file, path))

    @contextlib.contextmanager
    def whole_folder(
        self, target: Path, *, replace: bool = False, staging: Path | None = None, last: str | None = None
    ) -> Iterator[Path]:
        """Give a temporary folder to fill, which becomes the target if nothing was raised.

        Args:
            target: as in `trainables.storage.atomic.whole_folder`, like `replace` and `staging`.
            replace: whether an existing target is replaced.
            staging: where the temporary folder is made.
            last: the file that the object store gets last: where it is, all are.
        """
        publish = functools.partial(self._upload_folder, target=target, last=last)
        with whole_folder(target, replace=replace, staging=staging, publish=publish) as temporary:
            yield temporary

    def upload(self, path: Path, content: bytes) -> None:
        """Write the content of a file to the object store, if there is one; the file here stays as it is."""
        if located := self._stored(path):
            store, name = located
            store.write(name, content)

    def upload_file(self, path: Path) -> None:
        """Write a file as it is here to the object store, if there is one."""
        if self._stored(path):
            self.upload(path, path.read_bytes())

    def _upload_folder(self, folder: Path, *, target: Path, last: str | None) -> None:
        if located := self._stored(target):
            store, name = located
            files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: path.as_posix() == last):
                store.write(f"{name}/{path.as_posix()}", (folder / path).read_bytes())

    def remove_stored(self, path: Path) -> None:
        """Remove a file or folder from the object store, if there is one; it stays here."""
        if located := self._stored(path):
            store, name = located
            store.remove(name)

    def read_stored(self, path: Path) -> bytes | None:
        """Return the content of a file in the object store, None if it has none or there is no object store."""
        located = self._stored(path)
        return located[0].read(located[1]) if located else None

    def read(self, path: Path) -> bytes | None:
        """Return the newest content of a file, which is the object store's if there is one; None if there is none."""
        return self.read_stored(path) if self._stored(path) else _content(path)

    def take(self, path: Path) -> bytes | None:
        """Return the newest content of a file, and remove the file; None if there is none.

        A file on a disk is renamed before it is read, so that one which is written meanwhile is not lost.
        """
        if self._stored(path):
            content = self.read_stored(path)
            if content is not None:
                self.remove_stored(path)
            return content
        taken = path.with_name(f".{path.name}.taken")
        try:
            path.rename(taken)
        except FileNotFoundError:
            return None
        try:
            return read_bounded(taken, MAX_BYTES)
        finally:
            taken.unlink()

    def fetch(self, path: Path) -> None:
        """Make a file here what it is in the object store, if it is there."""
        content = self.read_stored(path)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, content)

    def fetch_folder(self, folder: Path) -> None:
        """Make a folder here what it is in the object store, if there is one; what is not there is moved aside."""
        located = self._stored(folder)
        if not located:
            return
        store, name = located
        stored = store.files(name)
        here = [path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder))]
        self._move_aside([path for path in here if path.relative_to(folder).as_posix() not in stored])
        _download(store, name, stored, folder)

    def move_aside(self, folder: Path) -> Path:
        """Rename a folder to a name that is free, such as ``0003.aside-1``, in the object store, too; return the name.

        Raises:
            OSError: it cannot be renamed.
        """
        names = (folder.with_name(f"{folder.name}.aside-{number}") for number in itertools.count(1))
        target = next(path for path in names if not path.exists() and not self._stored_files(path))
        for name in self._stored_files(folder):
            self.upload(target / name, self.read_stored(folder / name) or b"")
        self.remove_stored(folder)
        if folder.exists():
            folder.rename(target)
        return target

    def names_in(self, folder: Path) -> set[str]:
        """Return the names of what is in a folder, here or in the object store; none if there is no such folder."""
        here = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return here | {name.partition("/")[0] for name in self._stored_files(folder)}

    def _stored_files(self, folder: Path) -> list[str]:
        """Return the names of the files of a folder in the object store, below it; none if there is no object store."""
        located = self._stored(folder)
        return list(located[0].files(located[1])) if located else []

    def pull(self, folder: Path) -> None:
        """Update the copy of a sweep's folder, unless its driver runs on this machine.

        A sweep that the object store does not have (any more), or another one of that name, is moved aside.
        """
        if self.url is None:
            return
        from filelock import FileLock, Timeout

        try:
            with FileLock(_lock_of(folder), timeout=0):
                self._pull(folder)
        except Timeout:
            return

    @contextlib.contextmanager
    def held(self, folder: Path) -> Iterator[None]:
        """Update the copy of a sweep's folder, and keep others from updating it meanwhile: for its driver.

        Raises:
            StorageError: the object store does not have the sweep any more, or cannot be reached.
        """
        if self.url is None:
            yield
            return
        from filelock import FileLock

        with FileLock(_lock_of(folder)):
            if not self._pull(folder):
                raise StorageError(f"{self.location(folder)} is not there any more")
            yield

    def _pull(self, folder: Path) -> bool:
        """Update a copy, and return whether the object store has the sweep."""
        store, name = self._store, self._name(folder)
        meta = store.read(f"{name}/sweep.json")
        if meta is None or _sweep_id(meta) != _sweep_id(_content(folder / "sweep.json")):
            self._move_aside([folder])
        if meta is not None:
            files = store.files(name).items()
            _download(store, name, {path: stamp for path, stamp in files if not _is_of_worker(path)}, folder)
        return meta is not None

    def _move_aside(self, paths: list[Path]) -> None:
        """Move what the object store does not have out of the copy, keeping its place below the root, and say so."""
        aside = self.root / f".aside-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"
        moved = []
        for path in paths:
            target = aside / path.relative_to(self.root)
            if path.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    path.rename(target)
                    moved.append(path)
        if moved:
            more = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
            _log.warning(
                "%s%s: removed from the object store, or replaced there; this machine's copy was moved to %s",
                self.location(moved[0]),
                more,
                aside,
            )

    @property
    def _store(self) -> Store:
        assert self.url is not None  # noqa: S101 - only asked for in a working copy
        return store_at(self.url)

    def _stored(self, path: Path) -> tuple[Store, str] | None:
        """Return the object store and the name of a path there; None if there is none, or the path stays here."""
        if self.url is None or _is_hidden(path.relative_to(self.root)):
            return None
        return self._store, self._name(path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix().removeprefix(".")


def _download(store: Store, name: str, stored: dict[str, Stamp], folder: Path) -> None:
    """Fetch the files of the folder ``name`` that differ from those here.

    Raises:
        StorageError: the name of a file leads out of the folder; nothing was fetched.
    """
    for path in map(PurePosixPath, stored):
        if path.is_absolute() or ".." in path.parts:
            raise StorageError(f"{store} holds a file that would lie outside of {folder} here: {str(path)!r}")

    def download(item: tuple[str, Stamp]) -> None:
        path, stamp = folder / item[0], item[1]
        if _stamp(path) == stamp:
            return
        content = store.read(f"{name}/{item[0]}")
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, content, stamp.mtime_ns)

    visible = {path: stamp for path, stamp in stored.items() if not _is_hidden(Path(path))}
    with ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
        list(pool.map(download, visible.items()))


def _replace(path: Path, content: bytes, mtime_ns: int | None = None) -> None:
    """Write a file of the copy, whole; it is not synced to the disk, because the object store has it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    temporary.write_bytes(content)
    if mtime_ns is not None:
        os.utime(temporary, ns=(mtime_ns, mtime_ns))
    temporary.replace(path)


def _stamp(path: Path) -> Stamp | None:
    try:
        info = path.stat()
    except FileNotFoundError:
        return None
    return Stamp(info.st_size, info.st_mtime_ns)


def _content(path: Path) -> bytes | None:
    try:
        return read_bounded(path, MAX_BYTES)
    except FileNotFoundError:
        return None


def _sweep_id(meta: bytes | None) -> object:
    """Return the id in a ``sweep.json``: a sweep that was made anew under the same name has another one."""
    try:
        return json.loads(meta or b"{}").get("id")
    except ValueError:
        return None


def _is_of_worker(path: str) -> bool:
    return not _WRITTEN_BY_WORKERS.isdisjoint(path.split("/"))


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.copy")
