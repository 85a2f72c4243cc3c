"""A folder of images by class: each sub-folder is a class, below ``train``, ``validation`` and ``test`` if those are.

Every file is read up to a size, in the usual formats alone, by Pillow. Imports no torch.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.data.collections import (
    MAX_BYTES,
    MAX_CLASSES,
    ImageCollection,
    LabelledImages,
    check_sides,
    checked,
)
from trainables.errors import DataError, printable
from trainables.storage.bounded import read_bounded

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_MAX_FILE_BYTES = 32 * 2**20
_IGNORED = ("thumbs.db", "desktop.ini")
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
OnImage = Callable[[int], None]


def read_image_folder(folder: Path, on_image: OnImage = lambda done: None) -> ImageCollection:
    """Return the images in a folder.

    Args:
        folder: its sub-folders are the classes, in the order of their names, or splits with such sub-folders.
        on_image: called with the number of images read so far.

    Raises:
        DataError: a file is no image or another's shape, a class has no image; the message names the file.
    """
    try:
        entries = _entries(folder)
        folders = {path.name: path for path in entries if path.is_dir()}
        if stray := [path for path in entries if not path.is_dir()]:
            raise DataError(f"{shown(stray[0])} lies beside the classes: each sub-folder of {folder} is a class")
        if not folders:
            raise DataError(f"{folder} has no sub-folder: each class has one, named after it, with its images")
        are_splits = "train" in {_SPLITS.get(name.lower()) for name in folders} and all(
            name.lower() in _SPLITS for name in folders
        )
        places = {_SPLITS[name.lower()]: path for name, path in folders.items()} if are_splits else {"train": folder}
        classes = tuple(path.name for path in _class_folders(places["train"]))
        reader = _Reader(on_image)
        splits = {name: reader.read(place, classes) for name, place in places.items()}
    except OSError as error:
        raise DataError(f"cannot read {shown(Path(error.filename or folder))}: {error.strerror or error}") from error
    return checked(tuple(map(printable, classes)), splits, str(folder))


def shown(path: Path) -> str:
    """Return a path for a message."""
    return printable(str(path))


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name, but for hidden files and those that systems leave behind."""
    every = sorted(folder.iterdir(), key=lambda path: path.name)
    return [path for path in every if not path.name.startswith(".") and path.name.lower() not in _IGNORED]


def _class_folders(place: Path) -> list[Path]:
    folders = _entries(place)
    if not folders:
        raise DataError(f"{shown(place)} has no sub-folder: each class has one, named after it, with its images")
    if len(folders) > MAX_CLASSES:
        raise DataError(f"{shown(place)} has {len(folders):,} sub-folders: at most {MAX_CLASSES} classes are taken")
    if stray := [path for path in folders if not path.is_dir()]:
        raise DataError(f"{shown(stray[0])} lies beside the classes: each sub-folder of {shown(place)} is a class")
    return folders


class _Reader:
    """Reads images one after the other, and holds each against the first."""

    def __init__(self, on_image: OnImage) -> None:
        self._on_image = on_image
        self._first: tuple[Path, tuple[int, ...]] | None = None
        self._num_read = self._num_bytes = 0

    def read(self, place: Path, classes: tuple[str, ...]) -> LabelledImages:
        """Return the images of a split."""
        import numpy as np

        folders = {path.name: path for path in _class_folders(place)}
        if unknown := sorted(set(folders) - set(classes)):
            raise DataError(f"{shown(folders[unknown[0]])} is a class that the training images do not have")
        images, labels = [], []
        for label, name in enumerate(classes):
            files = _entries(folders[name]) if name in folders else []
            if not files:
                raise DataError(f"{shown(place / name)} has no image: put some there, or remove the class everywhere")
            for path in files:
                images.append(self._image(path))
                labels.append(label)
        return LabelledImages(np.stack(images), np.array(labels, dtype=np.int64))

    def _image(self, path: Path) -> npt.NDArray[Any]:
        pixels = read_image(path)
        self._first = self._first or (path, pixels.shape)
        other, shape = self._first
        if pixels.shape != shape:
            raise DataError(
                f"{shown(path)} is {_described(pixels.shape)}, {shown(other)} is {_described(shape)}: all images must "
                "have one size and be all grey or all in colour; convert them"
            )
        self._num_read += 1
        self._num_bytes += pixels.nbytes
        if self._num_bytes > MAX_BYTES:
            raise DataError(f"more than {MAX_BYTES / 2**30:.0f} GiB of pixels, up to {shown(path)}: take fewer images")
        self._on_image(self._num_read)
        return pixels


def _described(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{width} x {height} {'grey' if channels == 1 else 'in colour'}"


def read_image(path: Path) -> npt.NDArray[Any]:
    """Return the pixels of an image ``(C, H, W)`` as uint8, one channel if it is grey and three if it is in colour.

    Raises:
        DataError: the file is no image, too large, has transparent parts or more than 8 bits per pixel and channel.
        OSError: it cannot be read.
    """
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    content = read_bounded(path, _MAX_FILE_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as file:
                check_sides(*file.size, shown(path))  # before its pixels are unpacked
                _check_frames(file, path)
                image = _plain(ImageOps.exif_transpose(file), path)
                pixels = np.asarray(image, dtype=np.uint8)
    except UnidentifiedImageError:
        formats = ", ".join(_FORMATS)
        raise DataError(f"{shown(path)} is no image ({formats} are read): remove it, or convert it") from None
    except DataError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file leads to
        reason = printable(str(error))[:200]
        raise DataError(f"{shown(path)} is damaged: {reason}; remove it, or put a whole copy in its place") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _check_frames(image: Image, path: Path) -> None:
    if getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{shown(path)} has several frames: a dataset has one image in each file")


def _plain(image: Image, path: Path) -> Image:
    """Return an image in 8 bits, grey or in red, green and blue."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "RGBA", "PA", "P"):
        with_alpha = image.convert("LA" if image.mode == "LA" else "RGBA")
        lowest, _ = with_alpha.getchannel("A").getextrema()
        if lowest != 255:
            raise DataError(f"{shown(path)} has transparent parts: put it on a background first")
        return with_alpha.convert("L" if image.mode == "LA" else "RGB")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB")
    raise DataError(f"{shown(path)} has pixels of the kind {image.mode}: save it in 8 bits, grey or in colour")
