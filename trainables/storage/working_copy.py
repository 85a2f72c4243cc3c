"""Folders that are working copies of a store: what is written there is put to the store at once, and read from there.

The root of a working copy says so in a file; a folder below no such root is simply a folder, and nothing here does
anything for it. Names that begin with a dot stay on this machine.

Whoever drives a sweep holds its copy: what the driver writes is newer there than in the store, so nobody else brings
it up to date meanwhile. What workers write (checkpoints, logs) is fetched when it is wanted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainables.storage.object_store import Stamp, Store, below, store_at

_MARK = ".tuner-url"
_OF_WORKERS = ("checkpoint", "log.txt", "attempt")
_NUM_CONNECTIONS = 16


def make(url: str, root: Path) -> Path:
    """Make a folder the working copy of a store, and return it; nothing is fetched yet.

    Raises:
        OSError: the folder cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    mark = root / _MARK
    if not mark.exists():
        mark.write_text(url)
    return root


def root_of(path: Path) -> Path | None:
    """Return the root of the working copy that a path is in, None if it is in none."""
    return next((folder for folder in (path, *path.parents) if (folder / _MARK).is_file()), None)


def place_of(path: Path) -> str:
    """Return where a file or folder is kept: its URL in the store, if there is one, else its path."""
    root = root_of(path)
    return str(path) if root is None else below(_url_of(root), _name(path, root))


def put(path: Path, content: bytes) -> None:
    """Put what a file is to hold to the store, if there is one."""
    found = _find(path)
    if found:
        store, name = found
        store.write(name, content)


def put_again(path: Path) -> None:
    """Put a file as it is here to the store, if there is one."""
    if _find(path):
        put(path, path.read_bytes())


def put_folder(folder: Path, target: Path, last: str | None = None) -> None:
    """Put the files of a folder as those of another one; ``last`` is the one that says that all are there."""
    found = _find(target)
    if found:
        store, name = found
        for path in sorted(folder.iterdir(), key=lambda path: path.name == last):
            store.write(f"{name}/{path.name}", path.read_bytes())


def remove(path: Path) -> None:
    """Remove a file or folder from the store, if there is one."""
    found = _find(path)
    if found:
        store, name = found
        store.remove(name)


def read(path: Path) -> bytes | None:
    """Return what the store has of a file, None if it has none or there is no store."""
    found = _find(path)
    return found[0].read(found[1]) if found else None


def fetch(path: Path, *, only_if_there: bool = False) -> None:
    """Make a file here what it is in the store, if there is one.

    Args:
        path: of the file.
        only_if_there: leave it as it is if the store does not have it; otherwise it is removed then.
    """
    if not _find(path):
        return
    content = read(path)
    if content is None and not only_if_there:
        path.unlink(missing_ok=True)
    elif content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)


def fetch_folder(folder: Path) -> None:
    """Make a folder here what it is in the store, if there is one."""
    found = _find(folder)
    if not found:
        return
    store, name = found
    there = store.files(name)
    for path in [path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder))]:
        if str(path.relative_to(folder)) not in there:
            path.unlink(missing_ok=True)
    _download(store, name, there, folder)


def pull(folder: Path) -> None:
    """Bring the copy of a sweep's folder up to date, unless its driver is at work on this machine.

    A sweep that the store does not have (any more) is not here either afterwards.
    """
    root = root_of(folder)
    if root is None:
        return
    from filelock import FileLock, Timeout

    try:
        with FileLock(_lock_of(folder), timeout=0):
            _pull(_store_of(root), folder, _name(folder, root))
    except Timeout:
        return


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Bring the copy of a sweep's folder up to date and keep it as it is, for its driver."""
    root = root_of(folder)
    if root is None:
        yield
        return
    from filelock import FileLock

    with FileLock(_lock_of(folder)):
        _pull(_store_of(root), folder, _name(folder, root))
        yield


def names(root: Path) -> list[str] | None:
    """Return the names of the sweeps in the store that a folder is a copy of, None if it is none of any."""
    if root_of(root) != root:
        return None
    store = _store_of(root)
    there = store.folders()
    with ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
        metas = pool.map(lambda name: store.read(f"{name}/sweep.json"), there)
        return [name for name, meta in zip(there, metas, strict=True) if meta is not None]


def _store_of(root: Path) -> Store:
    return store_at(_url_of(root))


def _url_of(root: Path) -> str:
    return (root / _MARK).read_text()


def _pull(store: Store, folder: Path, name: str) -> None:
    meta = store.read(f"{name}/sweep.json")
    if meta is None or _id(meta) != _id(_content(folder / "sweep.json")):
        shutil.rmtree(folder, ignore_errors=True)
    if meta is not None:
        there = {path: stamp for path, stamp in store.files(name).items() if not set(_OF_WORKERS) & {*path.split("/")}}
        _download(store, name, there, folder)


def _download(store: Store, name: str, there: dict[str, Stamp], folder: Path) -> None:
    """Fetch what differs from what is here."""

    def download(item: tuple[str, Stamp]) -> None:
        path, stamp = folder / item[0], item[1]
        if _stamp(path) == stamp:
            return
        content = store.read(f"{name}/{item[0]}")
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, content, stamp.mtime_ns)

    visible = {path: stamp for path, stamp in there.items() if not _is_hidden(Path(path))}
    with ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
        list(pool.map(download, visible.items()))


def _replace(path: Path, content: bytes, mtime_ns: int | None = None) -> None:
    """Write a file of the copy, whole; the store has it for sure, so the disk need not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    temporary.write_bytes(content)
    if mtime_ns is not None:
        os.utime(temporary, ns=(mtime_ns, mtime_ns))
    temporary.replace(path)


def _stamp(path: Path) -> Stamp | None:
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return Stamp(about.st_size, about.st_mtime_ns)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _id(meta: bytes | None) -> object:
    """Return which sweep it is: one that was made anew under the same name is another one."""
    try:
        return json.loads(meta or b"{}").get("id")
    except ValueError:
        return None


def _find(path: Path) -> tuple[Store, str] | None:
    """Return the store of a path and its name there; None where there is none or the path is this machine's own."""
    root = root_of(path)
    if root is None or _is_hidden(path.relative_to(root)):
        return None
    return _store_of(root), _name(path, root)


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix().removeprefix(".")


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.copy")
