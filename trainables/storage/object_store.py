"""Storage for all machines: a folder, or the URL of an object store (s3://, gs://, and other schemes of fsspec).

Credentials are read from where the store's own tools look: environment variables and files, never from the URL.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from trainables.common.redaction import holds_secret, redact
from trainables.common.retries import RetryPolicy
from trainables.errors import StorageError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


_Result = TypeVar("_Result")
_RETRIES = RetryPolicy(first_wait_s=0.5, patience_s=60.0)  # longer than a store or a network is away when it restarts
_NO_RETRIES = RetryPolicy(first_wait_s=0.5, num_attempts=1)
_TRANSIENT = re.compile(
    r"network|connect|time.?out|slow.?down|unavailable|internal|throttl|reset|try again", re.IGNORECASE
)
_CHECK_S = 8.0  # a store that is asked for the first time; the libraries of some would try for 15 minutes
_CHECK = """
import sys
sys.path.append(sys.argv[1])
from trainables.storage.object_store import store_at
try:
    store_at(sys.stdin.read()).check()
except Exception as error:
    print(error)
    sys.exit(1)
"""
_NO_STORES = {
    "http": "nothing can be written there",
    "https": "nothing can be written there",
    "memory": "it ends with its process",
    "local": "write the folder's path",
    **dict.fromkeys(("data", "zip", "tar", "libarchive", "git", "github", "gist"), "it is no place for many files"),
}


@dataclass(frozen=True)
class Stamp:
    """Size and time of a file, which differ between two versions of it.

    Attributes:
        size: in bytes.
        mtime_ns: when it was written, in nanoseconds since 1970; None if the store does not say.
    """

    size: int
    mtime_ns: int | None


class Store:
    """Files below one folder or URL, by their names, which may hold slashes. Readers see a write whole or not at all.

    Every method raises `StorageError` if the storage cannot be reached for a minute, or refuses access.
    """

    def __init__(self, filesystem: FileSystem, base: str, shown: str) -> None:
        self._filesystem = filesystem
        self._base = base.rstrip("/")
        self._is_local = filesystem.type_name == "local"
        self._shown = shown

    def __str__(self) -> str:
        return self._shown

    def check(self) -> None:
        """Request the folder once, without retries.

        Raises:
            StorageError: it cannot be reached, or refuses access.
        """
        try:
            self._retried(lambda: self._filesystem.get_file_info(self._base), _NO_RETRIES)
        except FileNotFoundError as error:  # of an address, not of the folder
            raise StorageError(f"{self}: {error}") from error

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if there is none."""

        def read() -> bytes:
            with self._filesystem.open_input_stream(self._path(name), compression=None) as stream:
                return bytes(stream.read())

        try:
            return self._retried(read)
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""
        path = self._path(name)

        def write() -> None:
            try:
                stream = self._filesystem.open_output_stream(path, compression=None)
            except FileNotFoundError:  # object stores have no folders, others want them made
                self._filesystem.create_dir(path.rpartition("/")[0], recursive=True)
                stream = self._filesystem.open_output_stream(path, compression=None)
            with stream:
                stream.write(content)

        if not self._is_local:
            self._retried(write)
            return
        target, path = path, f"{path}.{uuid.uuid4().hex}"
        self._retried(write)
        self._filesystem.move(path, target)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens if there is none."""
        from pyarrow.fs import FileType

        path = self._path(name)

        def remove() -> None:
            kind = self._filesystem.get_file_info(path).type
            if kind == FileType.Directory:
                self._filesystem.delete_dir(path)
            elif kind != FileType.NotFound:
                self._filesystem.delete_file(path)

        try:
            self._retried(remove)
        except FileNotFoundError:  # another process was faster
            return

    def files(self, folder: str = "", *, recursive: bool = True) -> dict[str, Stamp]:
        """Return the files in a folder by their names in it; if recursive, those in folders below it, too."""
        infos = self._list(folder, recursive=recursive)
        return {name: Stamp(info.size, info.mtime_ns) for name, info in infos.items() if info.is_file}

    def folders(self) -> list[str]:
        """Return the names of the topmost folders, sorted."""
        return sorted(name for name, info in self._list("", recursive=False).items() if not info.is_file)

    def _list(self, folder: str, *, recursive: bool) -> dict[str, Any]:
        from pyarrow.fs import FileSelector

        path = self._path(folder)
        selector = FileSelector(path, allow_not_found=True, recursive=recursive)
        infos = self._retried(lambda: self._filesystem.get_file_info(selector))
        return {info.path.removeprefix(path).strip("/"): info for info in infos}

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    def _retried(self, action: Callable[[], _Result], policy: RetryPolicy = _RETRIES) -> _Result:
        """Return what an action returns; try it again while the storage is out of reach."""
        try:
            return policy.call(action, _is_transient)
        except FileNotFoundError:
            raise
        except Exception as error:  # whatever the store's library raises
            raise StorageError(f"{self}: {error}") from error


def _is_transient(error: Exception) -> bool:
    return not isinstance(error, FileNotFoundError) and _TRANSIENT.search(str(error)) is not None


@functools.cache
def check_url(url: str) -> None:
    """Check that a URL is one of a store that sweeps can be kept in, and that the store answers.

    The request is made by a process of its own, which is killed if it takes too long: the libraries of some stores
    cannot be interrupted, and a process that has called them does not end before they return.

    Raises:
        ValueError: the URL is not one of such a store, or has a secret in it.
        StorageError: the store has not answered within a few seconds, or refuses access.
    """
    scheme = urlsplit(url).scheme
    if reason := _NO_STORES.get(scheme):
        raise ValueError(f"sweeps cannot be kept in {scheme}://: {reason}")
    _check_no_secret(url)
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _CHECK, str(Path(__file__).parents[2])],
            input=url.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StorageError(f"{url} has not answered in {_CHECK_S:g} s: are network and address right?") from None
    if answer.returncode != 0:
        raise StorageError(answer.stdout.decode(errors="replace").strip() or f"{url} cannot be opened")


def path_of(url: str) -> Path:
    """Return the folder of a ``file://`` URL.

    Raises:
        ValueError: it names another host, no absolute path, or more than a path.
    """
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path.startswith("/"):
        raise ValueError("a file URL is file:///ABSOLUTE/PATH, with ? and # written as %3F and %23; or give the path")
    path = unquote(parts.path)
    if "\0" in path:
        raise ValueError("a path holds no zero byte")
    return Path(path)


def is_url(place: str | Path) -> bool:
    """Return whether a place is a URL, not a path."""
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place) is not None


def below(place: str, name: str) -> str:
    """Return the path or URL of a name below another one; the query of a URL stays at its end."""
    base, mark, query = place.partition("?") if is_url(place) else (place, "", "")
    return f"{base.rstrip('/')}/{name}".rstrip("/") + mark + query


@functools.cache
def store_at(place: str) -> Store:
    """Return the store at a folder or a URL; nothing is requested from it yet.

    Raises:
        ValueError: the URL is not one of a store, or has a secret in it.
    """
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem, LocalFileSystem

    if not is_url(place):
        return Store(LocalFileSystem(), place, place)
    parts = urlsplit(place)
    _check_no_secret(place)
    if not parts.path.strip("/") and not parts.netloc:
        raise ValueError(f"the URL {place} names no bucket")
    try:
        filesystem, base = FileSystem.from_uri(_with_options(place))
        return Store(filesystem, base, place)
    except (ArrowException, OSError, ImportError) as error:
        if parts.scheme in ("s3", "gs"):
            raise ValueError(f"{place} cannot be opened: {error}") from error
        try:
            return _fsspec_store(place)
        except Exception as unknown:  # whatever the store's library raises
            raise ValueError(f"{place} cannot be opened: {error}; {unknown}") from unknown


def _check_no_secret(url: str) -> None:
    if holds_secret(url):
        raise ValueError(
            f"a storage URL must not hold a secret, as {redact(url)} does: put it into the environment or into a "
            "file (for s3://: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials)"
        )


def _with_options(url: str) -> str:
    """Return a URL with the options of pyarrow that we want, unless it says otherwise.

    On S3 a small file is written in one request, in place of a multipart upload of three; on Google's storage nothing
    is tried for 15 minutes.
    """
    options = {"s3": "allow_delayed_open=true", "gs": "retry_limit_seconds=60"}
    option = options.get(urlsplit(url).scheme)
    if option is None or option.partition("=")[0] in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}{option}"


def _fsspec_store(url: str) -> Store:
    from fsspec.core import url_to_fs
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    filesystem, base = url_to_fs(url)
    return Store(PyFileSystem(FSSpecHandler(filesystem)), base, url)
