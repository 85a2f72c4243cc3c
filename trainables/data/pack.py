"""Images of a user's own as one file of tensors, identified by its SHA-256 and kept in the cache. Imports no torch.

A launch reads the images once; from then on every worker, resumed sweep and evaluation reads the file, so an image that
is changed or added meanwhile changes nothing. Where the file is missing it is made again from the images, or copied
from where machines share it; either way its checksum decides.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config.plugins.registries import RAISED, explain
from trainables.data.array_files import SUFFIXES, collection_of, read_array_file
from trainables.data.cache import ensure_cached, problems_in
from trainables.data.catalog import CatalogDataset
from trainables.data.cifar import layout_in, read_unpacked
from trainables.data.collections import ImageCollection, LabelledImages
from trainables.data.image_folder import read_image_folder
from trainables.data.sources import Progress, Shared, Source, SourceError, write_raw
from trainables.data.splitting import split_collection
from trainables.errors import DataError
from trainables.storage.atomic import cache_folder

if TYPE_CHECKING:
    import numpy.typing as npt

    from trainables.config import DataContent

FILE = "images.safetensors"
SPLITS = ("train", "validation", "test")


def read_images(source: Path, on_progress: Progress) -> ImageCollection:
    """Return the images in a folder by class, in one with files in the layout of CIFAR, or in a file of arrays.

    Raises:
        DataError: it is neither, or what is in it cannot be used.
    """
    if source.is_dir():
        try:
            if layout_in(source) is not None:
                return read_unpacked(source)
        except OSError as error:
            raise DataError(f"cannot read {error.filename or source}: {error.strerror or error}") from error
        return read_image_folder(source, lambda done: on_progress(0, 0, f"{done:,} images of {source.name}"))
    if source.suffix in SUFFIXES and source.exists():
        return read_array_file(source)
    if source.exists():
        raise DataError(f"{source} is neither a folder of images by class nor a file of {' or '.join(SUFFIXES)}")
    raise DataError(f"there is no folder or file {source}: name the images as the space file sees them, or with --data")


def call_for_images(function: Callable[[], object], name: str) -> ImageCollection:
    """Return the images that a function of a user's own returns.

    Args:
        function: returns arrays by their names, see `trainables.data.array_files`.
        name: what to call it in messages.

    Raises:
        DataError: it fails, or returns something else.
    """
    import numpy as np

    try:
        found = function()
    except RAISED as error:
        raise DataError(f"{name} fails: {explain(error)}") from error
    if not isinstance(found, Mapping):
        raise DataError(f"{name} must return a dictionary of arrays, images and labels, not {type(found).__name__}")
    return collection_of({str(key): np.asarray(value) for key, value in found.items()}, name)


def pack(
    collection: ImageCollection, source: str, validation: int | None, test: int | None
) -> tuple[bytes, DataContent]:
    """Return the file that images are kept in, and what is in it; arguments and errors are `split_collection`'s."""
    import numpy as np
    from safetensors.numpy import save

    from trainables.config import DataContent

    splits = split_collection(collection, source, validation, test)
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name in SPLITS:
        images, labels = splits[name].images, splits[name].labels
        tensors |= {f"{name}_images": np.ascontiguousarray(images), f"{name}_labels": np.ascontiguousarray(labels)}
    content = save(tensors, metadata={"classes": json.dumps(collection.classes)})
    counts = np.bincount(splits["train"].labels)
    channels, height, width = splits["train"].images.shape[1:]
    return content, DataContent(
        sha256=hashlib.sha256(content).hexdigest(),
        image_shape=(channels, height, width),
        classes=collection.classes,
        train=len(splits["train"]),
        validation=len(splits["validation"]),
        test=len(splits["test"]),
        most_frequent=round(float(counts.max() / counts.sum()), 6),
    )


def import_images(name: str, source: Path, *, validation: int | None = None, test: int | None = None) -> DataContent:
    """Read images, put them into the cache, and return what they are.

    Args:
        name: of the dataset, for messages.
        source: a folder of images by class, or a file of arrays.
        validation: see `split_collection`.
        test: see `split_collection`.

    Raises:
        DataError: they cannot be used.
    """
    content, about = pack(read_images(source, lambda done, total, what: None), name, validation, test)
    keep(content, about)
    return about


def keep(content: bytes, about: DataContent) -> None:
    """Put a file of images into the cache.

    Raises:
        DataError: the cache cannot be written.
    """
    ensure_cached(_files(about), (_InMemory(content),), lambda done, total, what: None)


def ensure_pack(
    name: str,
    about: DataContent,
    wanted: Mapping[str, int | None],
    *,
    origin: Path | None,
    shared: str | None,
    on_progress: Progress,
) -> Path:
    """Return the folder of the cache that holds the file of images, verified.

    Args:
        name: of the dataset.
        about: what is in the file.
        wanted: how many images were asked for to validate and to test on.
        origin: the folder or file that the images were read from.
        shared: where machines share datasets.
        on_progress: called with the progress.

    Raises:
        DataError: the file is not here and cannot be made again.
    """
    sources: list[Source] = [Shared(shared, folder_name(about))] if shared else []
    given = origin or (Path(value).expanduser() if (value := os.environ.get("TUNER_DATA")) else None)
    if given is not None:
        sources.append(_Original(given, wanted))
    try:
        return ensure_cached(_files(about), tuple(sources), on_progress)
    except DataError as error:
        raise DataError(
            f"the images of {name} are not here as they were (SHA-256 {about.sha256[:12]}...): "
            f"bring them back, or name their folder or file with --data or TUNER_DATA\n{error}"
        ) from error


def is_packed(about: DataContent) -> bool:
    """Return whether the file of images is in the cache, verified."""
    try:
        return not problems_in(cache_folder(_files(about).name), _files(about))
    except OSError:
        return False


def folder_name(about: DataContent) -> str:
    """Return under which name datasets of this content are kept."""
    return f"own-{about.sha256[:24]}"


def _files(about: DataContent) -> CatalogDataset:
    return CatalogDataset(folder_name(about), about.train + about.validation, about.test, {FILE: about.sha256}, ())


def load_splits(folder: Path) -> dict[str, LabelledImages]:
    """Return the three splits of a verified file of images."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / FILE)
    return {name: LabelledImages(tensors[f"{name}_images"], tensors[f"{name}_labels"]) for name in SPLITS}


@dataclass(frozen=True)
class _InMemory:
    """A source that has the file already."""

    content: bytes

    def fetch(self, names: Iterable[str], folder: Path, on_progress: Progress) -> None:
        """See `Source.fetch`."""
        for name in names:
            write_raw(self.content, folder / name)


@dataclass(frozen=True)
class _Original:
    """A source that makes the file anew from the images."""

    path: Path
    wanted: Mapping[str, int | None]

    def __str__(self) -> str:
        return str(self.path)

    def fetch(self, names: Iterable[str], folder: Path, on_progress: Progress) -> None:
        """See `Source.fetch`."""
        try:
            content, _ = pack(read_images(self.path, on_progress), str(self.path), **self.wanted)
        except DataError as error:
            raise SourceError(str(error)) from error
        for name in names:
            write_raw(content, folder / name)
