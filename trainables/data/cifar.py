"""The binary layout of CIFAR-10 and CIFAR-100, in the official archive or in a folder. Nothing is unpickled.

A record is one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100, of which the fine one counts), and then the
red, the green and the blue plane of 32 x 32 pixels. Imports no torch.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.common.tasks import CATALOG_TASKS
from trainables.data.collections import MAX_BYTES, ImageCollection, LabelledImages, checked
from trainables.errors import DataError, printable
from trainables.storage.bounded import read_bounded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_MAX_FILE_BYTES = 256 * 2**20
_MAX_NAMES_BYTES = 64 * 1024


@dataclass(frozen=True)
class Layout:
    """How one of the two datasets is laid out.

    Attributes:
        name: of the dataset in the catalogue.
        archive: the official archive.
        folder: the folder in it, in which its files are.
        train: the files of the training images.
        test: the file of the test images.
        names: the file with the names of the classes, one a line.
        label_bytes: how many bytes of labels a record begins with; the last of them counts.
    """

    name: str
    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int

    @property
    def record_bytes(self) -> int:
        """How long a record is."""
        return self.label_bytes + _PIXELS


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "cifar10",
            "cifar-10-binary.tar.gz",
            "cifar-10-batches-bin",
            tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test_batch.bin",
            "batches.meta.txt",
            1,
        ),
        Layout(
            "cifar100",
            "cifar-100-binary.tar.gz",
            "cifar-100-binary",
            ("train.bin",),
            "test.bin",
            "fine_label_names.txt",
            2,
        ),
    )
}


def read_archive(path: Path, name: str) -> tuple[LabelledImages, LabelledImages]:
    """Return the training and the test images of the official archive, in the order in which they lie there.

    Args:
        path: of the archive, which is verified already.
        name: of the dataset.

    Raises:
        DataError: it cannot be read.
    """
    layout = LAYOUTS[name]
    wanted = {f"{layout.folder}/{file}": file for file in (*layout.train, layout.test)}
    found = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name in wanted and member.isreg() else None
                if stream is not None:
                    found[wanted[member.name]] = stream.read(_MAX_FILE_BYTES)
    except (OSError, tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(f"{path} cannot be read: {printable(str(error))[:200]}") from error
    if missing := [file for file in wanted.values() if file not in found]:
        raise DataError(f"{path} has no {missing[0]}")
    return _images(layout, layout.train, found.__getitem__), _images(layout, (layout.test,), found.__getitem__)


def layout_in(folder: Path) -> Layout | None:
    """Return the layout of the unpacked files in a folder; None if there are none.

    Raises:
        OSError: the folder cannot be looked into.
    """
    names = {path.name for path in folder.iterdir()}
    return next((layout for layout in LAYOUTS.values() if layout.train[0] in names and layout.test in names), None)


def unpacked_folder(folder: Path, name: str) -> Path | None:
    """Return where the unpacked files of a dataset lie, without its archive: in a folder or in a usual one below it.

    Args:
        folder: where to look.
        name: of the dataset; of another one than CIFAR there is none.
    """
    layout = LAYOUTS.get(name)
    if layout is None:
        return None
    try:
        for place in (folder, folder / name, folder / layout.folder):
            if place.is_dir() and not (place / layout.archive).exists() and layout_in(place) == layout:
                return place
    except OSError:
        return None  # which is said when the files are opened
    return None


def read_unpacked(folder: Path) -> ImageCollection:
    """Return the images of unpacked files in CIFAR's layout, whose number may differ from the official one.

    Raises:
        DataError: a file is damaged, or a label is out of range.
        OSError: a file cannot be read.
    """
    layout = layout_in(folder)
    if layout is None:
        raise DataError(f"{folder} has no files in the layout of CIFAR-10 or CIFAR-100")
    train = tuple(file for file in layout.train if (folder / file).exists())

    def read(file: str) -> bytes:
        return read_bounded(folder / file, min(_MAX_FILE_BYTES, MAX_BYTES))

    classes = _class_names(folder, layout)
    splits = {"train": _images(layout, train, read, folder), "test": _images(layout, (layout.test,), read, folder)}
    return checked(classes, splits, str(folder))


def _class_names(folder: Path, layout: Layout) -> tuple[str, ...]:
    """Return the names in a folder, or the official ones where it has none."""
    official = CATALOG_TASKS[layout.name].classes
    if not (folder / layout.names).exists():
        return official
    lines = read_bounded(folder / layout.names, _MAX_NAMES_BYTES).decode("utf-8", "replace").split("\n")
    names = tuple(printable(line.strip()) for line in lines if line.strip())
    if len(names) != len(official):
        raise DataError(
            f"{folder / layout.names} names {len(names)} classes: {layout.name} has {len(official)}, one a line"
        )
    return names


def _images(
    layout: Layout, files: tuple[str, ...], read: Callable[[str], bytes], folder: Path | None = None
) -> LabelledImages:
    import numpy as np

    parts = [_records(layout, read(file), file if folder is None else str(folder / file)) for file in files]
    records = np.concatenate(parts)
    images = records[:, layout.label_bytes :].reshape(-1, *_SHAPE)
    return LabelledImages(np.ascontiguousarray(images), records[:, layout.label_bytes - 1].astype(np.int64))


def _records(layout: Layout, content: bytes, source: str) -> npt.NDArray[np.uint8]:
    import numpy as np

    if not content or len(content) % layout.record_bytes:
        raise DataError(
            f"{source} has {len(content):,} bytes: {layout.name} has records of {layout.record_bytes:,}; the file is "
            "cut off or another one, unpack or copy it again"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, layout.record_bytes)
    labels, num_classes = records[:, layout.label_bytes - 1], CATALOG_TASKS[layout.name].num_classes
    wrong = int(labels.argmax())
    if labels[wrong] >= num_classes:
        raise DataError(
            f"{source}: record {wrong} has the label {labels[wrong]}: those of {layout.name} are from 0 to "
            f"{num_classes - 1}"
        )
    return records
