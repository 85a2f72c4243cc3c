"""Where data files come from: the `Source` protocol, a folder, a public mirror.

A source writes files under their final names, idx files unpacked, into a staging folder. It verifies nothing: the
caller compares the SHA-256 of each file with the catalog, so a source need not be trusted.
"""

from __future__ import annotations

import gzip
import io
import os
import queue
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainables.errors import StorageError
from trainables.storage.object_store import store_at

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in total (0 when unknown) and what is being fetched."""

ANSWER_S = 5.0
"""Seconds that a mirror has for its first answer; without a network, each mirror costs no more."""
STALL_S = 30.0
"""Seconds that a mirror may pause in the middle of a file."""
MAX_RAW_BYTES = 256 * 2**20
"""Bytes that are unpacked of one file at most: no raw file is larger, and a hostile archive cannot fill the disk."""

UNREADABLE = (gzip.BadGzipFile, zlib.error, EOFError)
"""What reading a cut or damaged ``.gz`` raises."""


class SourceError(RuntimeError):
    """A source cannot give the files; the message is one line that says why."""


class Source(Protocol):
    """Where raw idx files can be fetched. ``str(source)`` names it in messages."""

    def fetch(self, names: Iterable[str], folder: Path, on_progress: Progress) -> None:
        """Write raw files into a folder.

        Args:
            names: of the files, without ``.gz``; at least one.
            folder: an existing one.
            on_progress: called with the progress.

        Raises:
            SourceError: the source is unreachable or lacks a file; files written before that stay in ``folder``.
            OSError: ``folder`` cannot be written.
        """


def open_raw(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """Open a file for reading its raw bytes, whether it is stored as ``.gz`` or not; an archive is read as it is."""
    return gzip.open(path) if path.suffix == ".gz" and not is_archive(path.name) else path.open("rb")


def is_archive(name: str) -> bool:
    """Return whether a file is an archive, which is fetched, verified and kept as it is."""
    return name.endswith(".tar.gz")


def packed_name(name: str) -> str:
    """Return the name under which mirrors have a file."""
    return name if is_archive(name) else f"{name}.gz"


def find_raw(folder: Path, name: str) -> Path | None:
    """Return the path of ``name`` or ``name.gz`` in ``folder``, or None when neither is there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def write_raw(raw: bytes, target: Path) -> None:
    """Write a file and wait until the disk has it, so that it can be renamed into its place."""
    with target.open("wb") as out:
        out.write(raw)
        out.flush()
        os.fsync(out.fileno())


def _unpack(packed: Path, target: Path) -> None:
    try:
        with open_raw(packed) as stream:
            write_raw(stream.read(MAX_RAW_BYTES), target)
    except UNREADABLE as error:
        raise SourceError(f"{packed.name} is cut or damaged: {error}") from error


@dataclass(frozen=True)
class Folder:
    """A folder on this machine with the files, raw or as ``.gz``; it is only read."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def fetch(self, names: Iterable[str], folder: Path, on_progress: Progress) -> None:
        """See `Source.fetch`."""
        for name in names:
            packed = find_raw(self.path, name)
            if packed is None:
                raise SourceError(f"has neither {name} nor {name}.gz")
            on_progress(0, 0, name)
            _unpack(packed, folder / name)


@dataclass(frozen=True)
class Shared:
    """A folder or URL that machines share, to which `trainables.data.files.share` has copied a dataset.

    Attributes:
        place: folder or URL of all shared datasets.
        dataset: its name.
    """

    place: str
    dataset: str

    def __str__(self) -> str:
        return f"{self.place}/{self.dataset}"

    def fetch(self, names: Iterable[str], folder: Path, on_progress: Progress) -> None:
        """See `Source.fetch`."""
        for name in names:
            on_progress(0, 0, name)
            try:
                raw = store_at(self.place).read(f"{self.dataset}/{name}")
            except StorageError as error:
                raise SourceError(str(error)) from error
            if raw is None:
                raise SourceError(f"has no {name}")
            write_raw(raw, folder / name)


class _DownloadProgress:
    """A progress bar for pooch that calls a `Progress` callback."""

    def __init__(self, on_progress: Progress, what: str) -> None:
        self.total = 0
        self._done = 0
        self._on_progress = on_progress
        self._what = what

    def update(self, num_bytes: int) -> None:
        # pooch adds its chunk size even for a smaller last chunk.
        self._done = min(self._done + num_bytes, self.total) if self.total else self._done + num_bytes
        self._on_progress(self._done, self.total, self._what)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Nothing to close: the caller owns what is drawn."""


@dataclass(frozen=True)
class Mirror:
    """A public web folder with ``NAME.gz`` files and archives; ``base_url`` ends in a slash."""

    base_url: str

    def __str__(self) -> str:
        return self.base_url

    def fetch(self, names: Iterable[str], folder: Path, on_progress: Progress) -> None:
        """See `Source.fetch`."""
        names = list(names)
        self._require_answer(f"{self.base_url}{packed_name(names[0])}")
        with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as scratch:
            for name in names:
                packed = Path(scratch, packed_name(name))
                self._download(f"{self.base_url}{packed.name}", packed, on_progress)
                _unpack(packed, folder / name)

    def _require_answer(self, url: str) -> None:
        """Request the headers once, with one deadline: requests has a time-out for each address of a host."""
        import requests

        answer: queue.SimpleQueue[requests.RequestException | None] = queue.SimpleQueue()

        def request() -> None:
            try:
                requests.head(url, timeout=ANSWER_S)
                answer.put(None)
            except requests.RequestException as error:
                answer.put(error)

        threading.Thread(target=request, daemon=True).start()
        try:
            error = answer.get(timeout=ANSWER_S)
        except queue.Empty:
            raise SourceError(f"no answer within {ANSWER_S:g} s") from None
        if error is not None:
            raise SourceError("cannot be reached from this network") from error

    def _download(self, url: str, target: Path, on_progress: Progress) -> None:
        import pooch
        import requests

        shown = _DownloadProgress(on_progress, url)
        downloader = pooch.HTTPDownloader(progressbar=shown, chunk_size=2**16, timeout=(ANSWER_S, STALL_S))
        try:
            downloader(url, str(target), None)
        except requests.HTTPError as error:
            raise SourceError(f"{error}") from error
        except requests.RequestException as error:
            raise SourceError(f"{target.name}: the connection broke off") from error
