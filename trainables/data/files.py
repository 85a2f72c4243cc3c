"""The files of datasets on this machine: located or fetched, and always verified. Imports no torch.

Files are taken from the folder that the user names, if any, which is never written to; otherwise they are fetched into
the cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainables.data.cache import ensure_cached, mismatch, problems_in
from trainables.data.catalog import CATALOG, CatalogDataset
from trainables.data.cifar import unpacked_folder
from trainables.data.pack import FILE, ensure_pack
from trainables.data.sources import Folder, Progress, Shared, find_raw, is_archive
from trainables.errors import DataError
from trainables.storage.atomic import cache_folder
from trainables.storage.object_store import store_at

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from trainables.config import DataContent


__all__ = [
    "DataStatus",
    "Progress",
    "cache_folder",
    "digest",
    "ensure",
    "names",
    "num_training_images",
    "read_digits",
    "read_idx",
    "share",
    "status",
    "unofficial_folder",
]

DIGITS_NUM_TRAIN = 1437
DIGITS_NUM_TEST = 360


class OwnImages(Protocol):
    """The settings of a dataset that may be a user's own."""

    @property
    def content(self) -> DataContent | None:
        """What was found in its images; None for a dataset of the catalogue."""
        ...

    @property
    def wanted(self) -> dict[str, int | None]:
        """How many images were asked for to validate and to test on."""
        ...


@dataclass(frozen=True)
class DataStatus:
    """The state of a dataset on this machine.

    Attributes:
        name: of the dataset.
        present: whether all of its files are there and verified.
        path: folder where its files are, or would be fetched to.
        num_images: number of training and test images together.
        digest: SHA-256 that identifies the dataset, see `digest`.
        problem: what is wrong, if it is not ``present``; else empty.
    """

    name: str
    present: bool
    path: Path
    num_images: int
    digest: str
    problem: str = ""


def names() -> tuple[str, ...]:
    """Return the names of all datasets."""
    return (*CATALOG, "digits")


def num_training_images(name: str) -> int:
    """Return the number of training images, from which the validation images are taken; reads no file.

    Raises:
        ValueError: no dataset has that name.
    """
    return DIGITS_NUM_TRAIN if name == "digits" else _dataset(name).num_train


def digest(name: str, content: DataContent | None = None) -> str:
    """Return one SHA-256 that identifies a dataset: over its file checksums, or over the arrays of `read_digits`.

    Args:
        name: of the dataset.
        content: of images of a user's own.

    Raises:
        ValueError: no dataset has that name.
    """
    if content is not None:
        return content.sha256
    if name != "digits":
        return _dataset(name).digest
    images, labels = read_digits()
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


def ensure(
    name: str,
    folder: Path | None = None,
    *,
    shared: str | None = None,
    on_progress: Progress | None = None,
    own: OwnImages | None = None,
) -> Path:
    """Return the folder that holds the verified raw files of a dataset, fetching them when needed.

    Args:
        name: one of `names`; for ``digits``, the folder of scikit-learn's own copy is returned.
        folder: where the files are, raw or ``.gz``, directly or in a subfolder ``name``; default ``TUNER_DATA``.
        shared: folder or URL that `share` has filled; the cache is filled from there before the network is tried.
        on_progress: called with the progress of every fetch; None shows nothing.
        own: of images of a user's own.

    Raises:
        ValueError: no dataset has that name.
        DataError: the given folder lacks a file or has a damaged one, no source has the files, or the cache cannot
            be written.
    """
    report = on_progress or _ignore_progress
    if own is not None and own.content is not None:
        return ensure_pack(name, own.content, own.wanted, origin=folder, shared=shared, on_progress=report)
    if name == "digits":
        return _digits_folder()
    dataset = _dataset(name)
    given = _given_folder(name, folder)
    if given is None:
        first = (Shared(shared, name),) if shared else ()
        return ensure_cached(dataset, (*first, *dataset.sources), report)
    paths = _verify_given(dataset, given)
    if all(path.name in dataset.sha256 for path in paths):  # as they are kept, not as ``.gz``
        return given
    return ensure_cached(dataset, (Folder(given),), report)


def share(name: str, shared: str, folder: Path | None = None, *, own: OwnImages | None = None) -> None:
    """Copy the verified raw files of a dataset to where other machines reach them.

    ``digits`` are skipped: they come with scikit-learn on every machine.

    Args:
        name: one of `names`.
        shared: folder or URL of all shared datasets.
        folder: where the files are, see `ensure`.
        own: of images of a user's own.

    Raises:
        DataError: the files are missing or damaged, and cannot be fetched.
        StorageError: nothing can be written there.
    """
    if name == "digits":
        return
    source, store = ensure(name, folder, own=own), store_at(shared)
    is_own = own is not None and own.content is not None
    kept_as = source.name if is_own else name
    stored = store.files(kept_as)
    for path in (source / file for file in ((FILE,) if is_own else _dataset(name).sha256)):
        if path.name not in stored or stored[path.name].size != path.stat().st_size:
            store.write(f"{kept_as}/{path.name}", path.read_bytes())


def unofficial_folder(name: str, folder: Path | None = None) -> Path | None:
    """Return the folder with unpacked files in the layout of CIFAR that a person has named for it.

    There are no checksums of the unpacked files, so they are not known to be the official ones: they are identified by
    their own content, as images of a user's own are.

    Args:
        name: of the dataset; there is no such folder for another one than CIFAR.
        folder: see `ensure`.
    """
    given = _given_folder(name, folder)
    return None if given is None else unpacked_folder(given, name)


def status(name: str, folder: Path | None = None) -> DataStatus:
    """Verify the files of a dataset on this machine; fetches nothing.

    Args:
        name: one of `names`.
        folder: where the files are, see `ensure`; by default the cache is looked at.

    Raises:
        ValueError: no dataset has that name.
    """
    if name == "digits":
        return DataStatus(name, True, _digits_folder(), DIGITS_NUM_TRAIN + DIGITS_NUM_TEST, digest(name))
    dataset = _dataset(name)
    given = _given_folder(name, folder)
    problem = ""
    try:
        if given is None:
            problem = _cache_problem(dataset)
        else:
            _verify_given(dataset, given)
    except (DataError, OSError) as error:
        problem = str(error)
    num_images = dataset.num_train + dataset.num_test
    return DataStatus(name, not problem, given or cache_folder(name), num_images, dataset.digest, problem)


def _cache_problem(dataset: CatalogDataset) -> str:
    folder = cache_folder(dataset.name)
    if not any((folder / name).exists() for name in dataset.sha256):
        return "not fetched"
    return "; ".join(problems_in(folder, dataset).values())


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read a raw idx file of unsigned bytes: images ``(n, 28, 28)``, labels ``(n,)``.

    Raises:
        DataError: the header is not that of unsigned bytes, or the length does not fit it.
    """
    import numpy as np

    with path.open("rb") as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:3] != b"\x00\x00\x08" or magic[3] == 0:
            raise DataError(f"{path}: an idx file of unsigned bytes begins with 00 00 08 NN, found {magic.hex(' ')}")
        header = file.read(4 * magic[3])
        values = np.fromfile(file, dtype=np.uint8)
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4))
    if len(header) != 4 * magic[3] or values.size != math.prod(shape):
        raise DataError(f"{path}: {magic[3]} dimensions {shape} must fit the data, found {values.size} bytes")
    return values.reshape(shape)


def read_digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return scikit-learn's digits: images ``(1797, 8, 8)`` of values 0 to 16, and labels ``(1797,)``."""
    rows = _read_digit_rows(_digits_folder() / "digits.csv.gz").copy()
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]


@cache
def _read_digit_rows(path: Path) -> npt.NDArray[np.uint8]:
    """Return 64 pixels and a label ``(1797, 65)``; text is slow to read, and a command wants it several times."""
    import numpy as np

    # The file alone: to import scikit-learn takes longer than to train the first epochs.
    return np.loadtxt(path, delimiter=",").astype(np.uint8)


def _ignore_progress(_done: int, _total: int, _what: str) -> None:
    """Show nothing."""


def _dataset(name: str) -> CatalogDataset:
    if name not in CATALOG:
        raise ValueError(f"no dataset is named {name!r}: choose one of {', '.join(names())}")
    return CATALOG[name]


def _digits_folder() -> Path:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("digits come with scikit-learn, which is not installed: pip install scikit-learn")
    return Path(spec.origin).parent / "datasets" / "data"


def _given_folder(name: str, folder: Path | None) -> Path | None:
    """Return the folder that the user named, narrowed to its subfolder ``name`` where there is one."""
    given = folder or os.environ.get("TUNER_DATA")
    if not given:
        return None
    root = Path(given).expanduser().absolute()
    # A folder that may not be looked into is reported when its files are opened.
    with suppress(OSError):
        if (root / name).is_dir():
            return root / name
    return root


def _verify_given(dataset: CatalogDataset, folder: Path) -> list[Path]:
    """Return the paths of the files, idx files raw or ``.gz``, in a folder that the user named."""
    try:
        paths = {name: path for name in dataset.sha256 if (path := find_raw(folder, name))}
        problems = [problem for name, path in paths.items() if (problem := mismatch(path, dataset.sha256[name]))]
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    missing = [name for name in dataset.sha256 if name not in paths]
    if missing:
        how = "" if any(map(is_archive, missing)) else " (raw or .gz)"
        problems.append(f"{folder} lacks {', '.join(missing)}{how}")
    if missing and (unpacked := unpacked_folder(folder, dataset.name)):
        problems.append(
            f"{unpacked} has files in that layout: a space with the dataset {dataset.name}, or with the path of the "
            "folder, takes them as they are, as images that are not known to be the official ones"
        )
    if problems:
        raise DataError("\n".join([*problems, f"put the right {dataset.name} files there, or name another folder"]))
    return list(paths.values())
