"""Files of arrays with images and labels: ``.npz`` of NumPy and ``.safetensors``. Nothing is unpickled; no torch here.

Arrays are found by the names that are common: ``images`` and ``labels``, or ``train_images`` and ``train_labels`` (as
MedMNIST has them), or ``x_train`` and ``y_train`` (Keras), with those of ``val`` or ``validation`` and of ``test``
beside them. ``classes`` may name the classes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.data.collections import MAX_BYTES, ImageCollection, checked, labelled
from trainables.errors import DataError, printable
from trainables.storage.bounded import open_regular

if TYPE_CHECKING:
    import numpy.typing as npt

Arrays = Mapping[str, Callable[[], "npt.NDArray[Any]"]]
"""Arrays by their names, read when they are asked for."""

_NAMES = {
    "train": (("images", "labels"), ("train_images", "train_labels"), ("x_train", "y_train"), ("x", "y")),
    "validation": (("validation_images", "validation_labels"), ("val_images", "val_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
_CLASSES = ("classes", "class_names")
SUFFIXES = (".npz", ".safetensors")


def read_array_file(path: Path) -> ImageCollection:
    """Return the images in a file of arrays.

    Args:
        path: of an ``.npz`` or ``.safetensors`` file.

    Raises:
        DataError: the file cannot be read, has no arrays of the usual names, or they are no images and labels.
    """
    try:
        with open_regular(path) as file:
            if file.seek(0, 2) > MAX_BYTES:
                raise DataError(f"{path} is larger than {MAX_BYTES / 2**30:.0f} GiB: take fewer or smaller images")
            file.seek(0)
            arrays = _in_npz(file) if path.suffix == ".npz" else _in_safetensors(path)
            return _collection(arrays, str(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError, NotImplementedError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged, or no {path.suffix} file: {printable(str(error))[:200]}") from error


def collection_of(arrays: Mapping[str, npt.NDArray[Any]], source: str) -> ImageCollection:
    """Return arrays as `read_array_file` returns those of a file.

    Raises:
        DataError: they have none of the usual names, or are no images and labels.
    """
    import numpy as np

    return _collection({name: partial(np.asarray, array) for name, array in arrays.items()}, source)


def _collection(arrays: Arrays, source: str) -> ImageCollection:
    splits = {}
    for split, pairs in _NAMES.items():
        pair = next((pair for pair in pairs if pair[0] in arrays), None)
        if pair is None:
            continue
        images, labels = pair
        if labels not in arrays:
            raise DataError(f"{source} has {images}, and no {labels} beside it")
        splits[split] = labelled(arrays[images](), arrays[labels](), f"{images} in {source}")
    if "train" not in splits:
        known = ", ".join(map(printable, list(arrays)[:8])) or "none"
        raise DataError(
            f"{source} has no images to train on, it has the arrays: {known}; call them images and labels, or "
            "train_images and train_labels beside test_images and test_labels"
        )
    named = next((arrays[name]() for name in _CLASSES if name in arrays), None)
    classes = None if named is None else tuple(printable(str(name)) for name in named.ravel()[:10_000].tolist())
    return checked(classes, splits, source)


def _in_npz(file: Any) -> Arrays:
    archive = zipfile.ZipFile(file)
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    return {name: partial(_array, archive, info) for name, info in members.items()}


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """Return an array of an ``.npz`` file, whose header is held against the member's size before memory is taken."""
    import numpy as np
    from numpy.lib import format as npy

    if info.file_size > MAX_BYTES:
        raise DataError(f"{printable(info.filename)} is larger than {MAX_BYTES / 2**30:.0f} GiB when it is unpacked")
    with archive.open(info) as member:
        version = npy.read_magic(member)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read_header is None:
            raise DataError(f"{printable(info.filename)} has the version {version} of NumPy's format: save it anew")
        shape, is_fortran, dtype = read_header(member)
        if dtype.hasobject:
            raise DataError(
                f"{printable(info.filename)} holds Python objects, which would have to be unpickled: save numbers"
            )
        num_values = int(np.prod(shape, dtype=object))
        if member.tell() + num_values * dtype.itemsize != info.file_size:
            raise DataError(f"{printable(info.filename)} is cut off, or its header is damaged")
        values = np.frombuffer(member.read(), dtype=dtype)
    return values.reshape(shape, order="F" if is_fortran else "C")


def _in_safetensors(path: Path) -> Arrays:
    from safetensors import SafetensorError, safe_open

    try:
        tensors: Any = safe_open(str(path), framework="numpy")
        return {name: partial(tensors.get_tensor, name) for name in tensors.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise DataError(f"{path} is damaged, or no .safetensors file: {printable(str(error))[:200]}") from error
