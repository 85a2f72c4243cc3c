"""What files of ``torch.save`` and safetensors hold, as plain data; no code is run, and no tensor is read unasked.

A file of ``torch.save`` is a pickle beside raw numbers. The pickle's instructions are followed only as far as they make
mappings, lists, texts, numbers and descriptions of tensors; an object of any other class becomes an `Unread`. So a
checkpoint can be opened whatever else lies in it, in time and memory that its size bounds.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from safetensors import SafetensorError, safe_open

from trainables.errors import BundleError, printable
from trainables.networks.pickles import Name, Unread, read_pickle
from trainables.storage.bounded import open_regular

MAX_INDEX_BYTES = 1_000_000
"""How large a pickle, a safetensors header or the directory of a zip archive may be; that of our networks has 5 kB."""
_MAX_STORAGE_BYTES = 100_000_000
"""How much is read for one tensor, which may be a part of all; our largest network has 26 MB in float64."""
_MAX_DIMENSIONS = 16

_LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_NUMPY_FORMATS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i", "b1": "<?"}
DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, OverflowError),
    *(struct.error, zipfile.BadZipFile, NotImplementedError, zlib.error, SafetensorError),
)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        shape: of the tensor.
        dtype: of its numbers; None if it is none of the usual ones.
        load: reads its numbers; raises one of many errors if they are damaged or fewer than the shape needs.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    load: Callable[[], torch.Tensor]


@dataclass(frozen=True)
class _Storage:
    """Numbers in a file, of which tensors are views."""

    dtype: torch.dtype | None
    key: str
    num_values: int


def read_content(path: Path) -> Any:
    """Return what a file holds: nested mappings, lists and plain values with `StoredTensor` and `Unread` among them.

    Raises:
        BundleError: the file is of another kind, damaged, or not a regular file.
    """
    try:
        with open_regular(path) as file:
            start = file.read(512)
        if not start:
            raise BundleError(f"{path} is empty")
        if start.startswith(b"PK"):
            return _read_archive(path)
        if start[8:9] == b"{":
            return _read_safetensors(path, start)
        if start.startswith(b"\x80"):
            return _read_legacy(path)
    except DAMAGE as error:
        if isinstance(error, BundleError):
            raise
        raise unreadable(path, error) from error
    raise BundleError(f"{path} is no state dict that can be read safely: it is {_describe(start)}; {HOW_TO_SAVE}")


HOW_TO_SAVE = "save `model.state_dict()` with torch.save or safetensors"

_OTHER_KINDS = {
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file, as Keras writes",
    b"\x1f\x8b": "compressed by gzip",
    b"version https://git-lfs": "a Git LFS pointer, which `git lfs pull` replaces by the file",
    b"GGUF": "a GGUF file",
    b"<": "a web page or XML, not the file that it was saved for",
}


def unreadable(path: Path, error: Exception) -> BundleError:
    """Return the error for a file that is damaged."""
    reason = printable((str(error) or type(error).__name__).splitlines()[0][:200])
    return BundleError(f"{path} is no state dict that can be read safely: {reason}; {HOW_TO_SAVE}")


def _describe(start: bytes) -> str:
    if start[257:262] == b"ustar":
        return "a tar archive, perhaps of a PyTorch before 0.4"
    return next((kind for magic, kind in _OTHER_KINDS.items() if start.startswith(magic)), "of an unknown kind")


def check_header(content: bytes) -> bytes:
    """Return the content of a safetensors file.

    Raises:
        ValueError: its header, the table of tensors, is larger than one of our networks can have.
    """
    if (size := int.from_bytes(content[:8], "little")) > MAX_INDEX_BYTES:
        raise ValueError(f"a header of {size:,} bytes")
    return content


def _read_safetensors(path: Path, start: bytes) -> dict[str, StoredTensor]:
    check_header(start)
    file = safe_open(path, framework="pt")
    content = {}
    for name in file.keys():  # type: ignore[no-untyped-call]  # noqa: SIM118 - it is no mapping
        view = file.get_slice(name)  # type: ignore[no-untyped-call]
        dtype = _SAFETENSORS_TYPES.get(view.get_dtype())
        content[name] = StoredTensor(tuple(view.get_shape()), dtype, partial(file.get_tensor, name))
    return content


_SAFETENSORS_TYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32},  # counts, as of batch normalisation
}


class _Bounded(io.BufferedReader):
    """A file that refuses a single large read, as that of an archive's directory is."""

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(MAX_INDEX_BYTES + 1 if size is None or size < 0 else min(size, MAX_INDEX_BYTES + 1))
        if len(content) > MAX_INDEX_BYTES:
            raise ValueError("a directory of more entries than a checkpoint has")
        return content


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with _Bounded(cast(io.BufferedReader, open_regular(path)).detach()) as file, zipfile.ZipFile(file) as archive:
        yield archive


def _read_archive(path: Path) -> Any:
    with _open_archive(path) as archive:
        names = archive.namelist()
        if kind := _kind_of_archive(names):
            raise BundleError(f"{path} is {kind}, not a state dict: {HOW_TO_SAVE}")
        pickle_name = next(name for name in names if name.split("/", 1)[-1] == "data.pkl")
        root = pickle_name.removesuffix("data.pkl")
        if f"{root}byteorder" in names and _read_member(archive, f"{root}byteorder", 9) != b"little":
            raise ValueError("it was written on a machine with another byte order")
        content = io.BytesIO(_read_member(archive, pickle_name, MAX_INDEX_BYTES))
    return read_pickle(content, _storage_of, partial(_make, partial(_load_from_archive, path, root)))


def _kind_of_archive(names: list[str]) -> str | None:
    inner = {name.split("/", 1)[-1] for name in names}
    if any(name.endswith(".npy") for name in names):
        return "a NumPy archive"
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "a TorchScript program"
    if inner & {"archive_format", "serialized_exported_program.json"} or any(n.startswith("models/") for n in inner):
        return "a program that torch.export wrote"
    return None if "data.pkl" in inner else "a zip archive of something else"


def _read_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Return the content of an archive's member, which is unpacked no further than the limit."""
    if archive.getinfo(name).file_size > max_bytes:
        raise ValueError(f"{name} has more than {max_bytes:,} bytes")
    chunks = []
    with archive.open(name) as member:
        while chunk := member.read(min(max_bytes + 1, MAX_INDEX_BYTES)):
            chunks.append(chunk)
    return b"".join(chunks)


def _load_from_archive(path: Path, root: str, storage: _Storage, num_bytes: int) -> bytes:
    with _open_archive(path) as archive:
        return _read_member(archive, f"{root}data/{storage.key}", num_bytes)


def _read_legacy(path: Path) -> Any:
    """Return what a file in the format before PyTorch 1.6 holds: five pickles, then the storages in turn."""
    with open_regular(path) as file:
        head = io.BytesIO(file.read(MAX_INDEX_BYTES))
    if not head.getvalue().startswith(_LEGACY_MAGIC):
        raise BundleError(f"{path} is a pickle that torch.save did not write: {HOW_TO_SAVE}")
    for _ in ("magic number", "version", "sizes of integers"):
        read_pickle(head)
    storages: dict[str, _Storage] = {}
    starts: dict[str, int] = {}

    def storage_of(identity: Any) -> Any:
        storage = _storage_of(identity)
        return storages.setdefault(storage.key, storage) if isinstance(storage, _Storage) else storage

    def load(storage: _Storage, num_bytes: int) -> bytes:
        with open_regular(path) as file:
            return _read_at(file, starts[storage.key], storage, num_bytes)

    content = read_pickle(head, storage_of, partial(_make, load))
    start = head.tell()
    keys = read_pickle(head)
    start = head.tell()
    for key in keys:
        starts[key] = start
        start += 8 + storages[key].num_values * _size_of(storages[key].dtype)
    return content


def _read_at(file: BinaryIO, start: int, storage: _Storage, num_bytes: int) -> bytes:
    file.seek(start)
    if int.from_bytes(file.read(8), "little") != storage.num_values:
        raise ValueError("the sizes of its tensors contradict each other")
    return file.read(num_bytes)


def _size_of(dtype: torch.dtype | None) -> int:
    if dtype is None:
        raise ValueError("numbers of an unusual type")
    return dtype.itemsize


def _storage_of(identity: Any) -> Any:
    """Return the storage of ``("storage", type, key, device, length)``, or the class of ``("module", class, ...)``."""
    what, kind, *others = identity
    if what != "storage":
        return kind
    key, _, num_values, *_ = others
    dtype = _STORAGES.get(kind.attribute) if isinstance(kind, Name) else None
    if not (isinstance(key, str) and isinstance(num_values, int) and num_values >= 0):
        raise ValueError("a tensor without numbers")
    return _Storage(dtype, key, num_values)


def _make(load: Callable[[_Storage, int], bytes], function: Name, arguments: tuple[Any, ...]) -> Any:
    """Return what one of the functions that torch.save names makes of its arguments."""
    if function.text in _TENSORS:
        return _tensor(load, *arguments[:4])
    if function.text == "torch._tensor._rebuild_from_type_v2":
        return _make(load, arguments[0], arguments[2])
    if function.text in _PLAIN:
        return _PLAIN[function.text](*arguments)
    return Unread(function.text)


def _number(dtype: Name, content: bytes) -> Any:
    return struct.unpack(_NUMPY_FORMATS[dtype.attribute], content)[0]


_TENSORS = {f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")}
"""All take a storage, where in it the tensor begins, its shape and its strides; the last one is for rare types."""

_PLAIN: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "numpy.dtype": lambda code, *_: Name("numpy.dtype", code),
    "numpy._core.multiarray.scalar": _number,
    "numpy.core.multiarray.scalar": _number,
    "_codecs.encode": lambda text, *_: text.encode("latin1"),  # how bytes are written for Python 2, too
}


def _tensor(load: Callable[[_Storage, int], bytes], storage: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    numbers = (offset, *shape, *stride)
    is_possible = len(shape) <= _MAX_DIMENSIONS and all(isinstance(n, int) and 0 <= n < 2**48 for n in numbers)
    if not isinstance(storage, _Storage) or not is_possible:
        raise ValueError("a tensor of no possible shape")
    return StoredTensor(tuple(shape), storage.dtype, partial(_load_view, load, storage, offset, shape, stride))


def _load_view(
    load: Callable[[_Storage, int], bytes], storage: _Storage, offset: int, shape: Any, stride: Any
) -> torch.Tensor:
    if storage.dtype is None:
        raise ValueError("numbers of an unusual type")
    num_bytes = storage.num_values * storage.dtype.itemsize
    if num_bytes > _MAX_STORAGE_BYTES:
        raise ValueError(f"{num_bytes:,} bytes for one tensor")
    content = bytearray(load(storage, num_bytes))
    if len(content) != num_bytes:
        raise ValueError("numbers of a tensor are missing")
    values = torch.frombuffer(content, dtype=storage.dtype) if content else torch.empty(0, dtype=storage.dtype)
    return values.as_strided(tuple(shape), tuple(stride), offset).clone()
