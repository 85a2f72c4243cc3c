"""The cache of fetched data files: verified, filled under a lock, and only with whole files.

It lies in ``TUNER_CACHE``, else in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.data.catalog import CatalogDataset
from trainables.data.sources import UNREADABLE, Mirror, Progress, Source, SourceError, open_raw, packed_name
from trainables.errors import DataError
from trainables.storage.atomic import cache_folder

_STAGING = ".fetch-"
_log = logging.getLogger(__name__)


def mismatch(path: Path, expected: str) -> str | None:
    """Compare the SHA-256 of a file's raw bytes with the expected one.

    Args:
        path: of the file, raw or ``.gz``.
        expected: 64 hexadecimal digits.

    Returns:
        A sentence with both checksums, None if they are equal.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with open_raw(path) as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except UNREADABLE as error:
        actual = f"a damaged archive ({error})"
    return None if actual == expected else f"{path}: expected SHA-256 {expected}, found {actual}"


def problems_in(folder: Path, dataset: CatalogDataset) -> dict[str, str]:
    """Verify the files of a dataset in a folder.

    Returns:
        What is wrong, by file name; empty if all are there with their checksums.

    Raises:
        OSError: a file cannot be read.
    """
    problems = {}
    for name, expected in dataset.sha256.items():
        path = folder / name
        problem = mismatch(path, expected) if path.is_file() else f"{path} is missing"
        if problem:
            problems[name] = problem
    return problems


def ensure_cached(dataset: CatalogDataset, sources: tuple[Source, ...], on_progress: Progress) -> Path:
    """Return the cache folder of a dataset with all files verified; missing and damaged ones are fetched.

    Args:
        dataset: a row of the catalog.
        sources: where files are fetched from, in this order.
        on_progress: called with the progress of every fetch.

    Raises:
        DataError: no source has the files, or the cache cannot be written.
    """
    folder = cache_folder(dataset.name)
    try:
        # Verified files need no lock, so a complete cache may be read-only.
        if problems_in(folder, dataset):
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder, on_progress):
                _fill(folder, dataset, sources, on_progress)
    except OSError as error:
        raise DataError(
            f"cannot store {dataset.name} in {folder}: {error.strerror or error}; "
            "free space or permit writing there, or set TUNER_CACHE to another folder"
        ) from error
    return folder


@contextmanager
def _locked(folder: Path, on_progress: Progress) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_progress(0, 0, f"waiting for another process that fetches {folder.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fill(folder: Path, dataset: CatalogDataset, sources: tuple[Source, ...], on_progress: Progress) -> None:
    """Fetch what is missing or damaged; all of it is verified before the first file is replaced."""
    # Under the lock no other process stages files: a staging folder was left by one that was killed.
    for stale in folder.glob(f"{_STAGING}*"):
        shutil.rmtree(stale)
    # Verified again, because another process may have fetched while this one waited for the lock.
    problems = problems_in(folder, dataset)
    for name, problem in problems.items():
        if (folder / name).exists():
            _log.warning("%s; fetching it again", problem)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_STAGING) as staging:
        reasons = _stage(Path(staging), {name: dataset.sha256[name] for name in problems}, sources, on_progress)
        if any(not Path(staging, name).exists() for name in problems):
            raise DataError(_manual_instructions(folder, dataset, reasons))
        for name in problems:
            Path(staging, name).replace(folder / name)


def _stage(staging: Path, wanted: dict[str, str], sources: tuple[Source, ...], on_progress: Progress) -> list[str]:
    """Fetch from one source after the other until all files are in ``staging``, verified; return why sources failed."""
    reasons = []
    for source in sources:
        missing = [name for name in wanted if not (staging / name).exists()]
        if not missing:
            break
        try:
            source.fetch(missing, staging, on_progress)
        except SourceError as error:
            reasons.append(f"{source}: {error}")
        for path in (staging / name for name in missing if (staging / name).exists()):
            if problem := mismatch(path, wanted[path.name]):
                reasons.append(f"{source}: {problem.removeprefix(f'{staging}{os.sep}')}")
                path.unlink()
    return reasons


def _manual_instructions(folder: Path, dataset: CatalogDataset, reasons: list[str]) -> str:
    mirror = next((source.base_url for source in dataset.sources if isinstance(source, Mirror)), "")
    names = list(dataset.sha256)
    packed = [packed_name(name) for name in names]
    return "\n".join(
        [
            f"cannot get {dataset.name}; sources tried:",
            *(f"  {reason}" for reason in reasons),
            "by hand, on a machine that has a network:",
            f"  wget -P FOLDER {' '.join(mirror + name for name in packed)}",
            "then bring FOLDER here and name it with --data FOLDER or TUNER_DATA=FOLDER; or place the files",
            f"  {','.join(names)}",
            f"in {folder}",
        ]
    )
