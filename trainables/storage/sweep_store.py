"""The folder of all sweeps, which may be this machine's working copy of an object store.

In a working copy, what is written goes to the object store first, and what other machines have written is fetched from
there. Files and folders whose names begin with a dot stay on this machine.

Whoever drives a sweep holds its copy (`SweepStore.held`): what the driver writes is newer there than in the object
store, so nobody else updates the copy meanwhile. Checkpoints and logs, which workers write, are fetched on demand.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.storage.atomic import append_whole, as_json, whole_folder, write_whole
from trainables.storage.object_store import Stamp, Store, below, store_at

_URL_FILE = ".tuner-url"  # in the root of a working copy: the URL of its object store
_WRITTEN_BY_WORKERS = {"checkpoint", "log.txt", "attempt"}
_NUM_CONNECTIONS = 16


@dataclass(frozen=True)
class SweepStore:
    """Where sweeps are kept: a folder and, if that is a working copy, the URL of its object store.

    Paths that the methods take lie in the folder `root`. Where nothing else is said, they raise `OSError` if the disk
    cannot be written, and `StorageError`, which is an `OSError`, if the object store cannot be reached or written.
    """

    root: Path
    url: str | None = None

    @classmethod
    def open(cls, root: Path) -> SweepStore:
        """Return the store in a folder: a working copy if the folder was made one, whatever folders around it are."""
        url_file = root / _URL_FILE
        return cls(root, url_file.read_text() if url_file.is_file() else None)

    @classmethod
    def working_copy(cls, url: str, root: Path) -> SweepStore:
        """Make a folder the working copy of an object store, unless it is one; nothing is fetched yet."""
        root.mkdir(parents=True, exist_ok=True)
        url_file = root / _URL_FILE
        if not url_file.exists():
            url_file.write_text(url)
        return cls.open(root)

    def location(self, path: Path) -> str:
        """Return where a file or folder is kept: its URL in the object store, if there is one, else its path."""
        return str(path) if self.url is None else below(self.url, self._name(path))

    def names(self) -> list[str]:
        """Return the names of all sweeps, sorted."""
        if self.url is None:
            candidates = [path.parent.name for path in self.root.glob("*/sweep.json")]
            return sorted(name for name in candidates if not _is_hidden(Path(name)))
        store = self._store
        folders = store.folders()
        with ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
            contents = pool.map(lambda name: store.read(f"{name}/sweep.json"), folders)
            return [name for name, content in zip(folders, contents, strict=True) if content is not None]

    def write(self, path: Path, content: bytes) -> None:
        """Write a file so that a crash leaves the old one or the new one."""
        write_whole(path, content, publish=functools.partial(self.upload, path, content))

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
            for path in sorted(folder.iterdir(), key=lambda path: path.name == last):
                store.write(f"{name}/{path.name}", path.read_bytes())

    def remove_stored(self, path: Path) -> None:
        """Remove a file or folder from the object store, if there is one; it stays here."""
        if located := self._stored(path):
            store, name = located
            store.remove(name)

    def read_stored(self, path: Path) -> bytes | None:
        """Return the content of a file in the object store, None if it has none or there is no object store."""
        located = self._stored(path)
        return located[0].read(located[1]) if located else None

    def fetch(self, path: Path, *, keep: bool = False) -> None:
        """Make a file here what it is in the object store, if there is one.

        Args:
            path: of the file.
            keep: whether a file that the object store does not have stays here; otherwise it is removed.
        """
        if not self._stored(path):
            return
        content = self.read_stored(path)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, content)
        elif not keep:
            path.unlink(missing_ok=True)

    def fetch_folder(self, folder: Path) -> None:
        """Make a folder here what it is in the object store, if there is one."""
        located = self._stored(folder)
        if not located:
            return
        store, name = located
        stored = store.files(name)
        for path in [path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder))]:
            if str(path.relative_to(folder)) not in stored:
                path.unlink(missing_ok=True)
        _download(store, name, stored, folder)

    def pull(self, folder: Path) -> None:
        """Update the copy of a sweep's folder, unless its driver runs on this machine.

        A sweep that the object store does not have (any more) is not here either afterwards.
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
        """Update the copy of a sweep's folder, and keep others from updating it meanwhile: for its driver."""
        if self.url is None:
            yield
            return
        from filelock import FileLock

        with FileLock(_lock_of(folder)):
            self._pull(folder)
            yield

    def _pull(self, folder: Path) -> None:
        store, name = self._store, self._name(folder)
        meta = store.read(f"{name}/sweep.json")
        if meta is None or _sweep_id(meta) != _sweep_id(_content(folder / "sweep.json")):
            shutil.rmtree(folder, ignore_errors=True)
        if meta is not None:
            files = store.files(name).items()
            _download(store, name, {path: stamp for path, stamp in files if not _is_of_worker(path)}, folder)

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
    """Fetch the files of the folder ``name`` that differ from those here."""

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
    return path.read_bytes() if path.exists() else None


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
