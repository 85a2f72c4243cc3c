"""The files of a bundle, a trained classifier as a folder: their names, checksums and JSON. Loads no torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from trainables.errors import BundleError
from trainables.storage.bounded import open_regular, read_bounded
from trainables.storage.checked_json import mistakes_in_words

CONFIGURATION, WEIGHTS, CHECKSUMS = "configuration.json", "classifier.safetensors", "checksums.json"
MAX_JSON_BYTES = 1_000_000
_MAX_BYTES, _AT_ONCE = 4 * 1024**3, 1 << 20
"""How large any JSON file of a bundle may be; those that are written have some 5 kB."""

Content = TypeVar("Content")


def write_checksums(folder: Path, *names: str) -> None:
    """Write the SHA-256 of files of a bundle beside those that are known already."""
    known = _read_checksums(folder) or {}
    known |= {name: _sha256((folder / name).read_bytes()) for name in names}
    (folder / CHECKSUMS).write_text(_checksums_text(known))


def read_bundle_json(folder: Path, name: str, parse_content: Callable[[Any], Content]) -> Content:
    """Return the content of a JSON file of a bundle.

    Args:
        folder: of the bundle.
        name: of the file.
        parse_content: returns what the plain data stands for; a ValueError says that it is something else.

    Raises:
        BundleError: the file is missing, damaged, changed, too large or something else.
    """
    try:
        return parse_content(json.loads(read_checked(folder, name, MAX_JSON_BYTES), parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BundleError):
            raise
        refuse(folder, error, name)


def read_checked(folder: Path, name: str, max_bytes: int) -> bytes:
    """Return the content of a bundle's file, which is what was written, as far as the bundle has checksums.

    Bundles of earlier releases have none.

    Raises:
        BundleError: the file cannot be read, is not a regular file, is too large, or its checksum does not match.
    """
    try:
        content = read_bounded(folder / name, max_bytes)
        known = _read_checksums(folder)
    except (OSError, ValueError, RecursionError) as error:
        refuse(folder, error)
    if known is not None and known.get(name) != _sha256(content):
        raise BundleError(f"{folder / name} was changed after it was written: its checksum in {CHECKSUMS} is another")
    return content


def content_digest(folder: Path) -> str:
    """Return a digest of the configuration and the weights of a bundle that has checksums."""
    known = _read_checksums(folder) or {}
    return _sha256(f"{known[CONFIGURATION]} {known[WEIGHTS]}".encode())[:16]


def find_changes(folder: Path) -> list[str]:
    """Return a sentence for each file of a bundle that is missing or was changed after it was written.

    Raises:
        BundleError: the checksums are missing or damaged.
    """
    try:
        text = read_bounded(folder / CHECKSUMS, MAX_JSON_BYTES).decode()
        known = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        refuse(folder, error, CHECKSUMS)
    if not isinstance(known, dict) or text != _checksums_text(known):
        return [f"{folder / CHECKSUMS} was changed after it was written"]
    return [problem for name, digest in known.items() if (problem := _change(folder, name, digest))]


def _change(folder: Path, name: str, digest: str) -> str:
    try:
        with open_regular(folder / name) as file:
            if os.fstat(file.fileno()).st_size > _MAX_BYTES:
                return f"{folder / name} has more than {_MAX_BYTES} bytes, which no such file has"
            found = hashlib.sha256()
            for part in iter(lambda: file.read(_AT_ONCE), b""):
                found.update(part)
    except OSError as error:
        return f"{folder / name} cannot be read: {error.strerror or error}"
    return "" if found.hexdigest() == digest else f"{folder / name} was changed after it was written"


def has_checksums(folder: Path) -> bool:
    """Return whether a bundle has checksums."""
    return (folder / CHECKSUMS).exists()


def _checksums_text(known: dict[str, str]) -> str:
    return json.dumps(known, indent=2) + "\n"


def _read_checksums(folder: Path) -> dict[str, str] | None:
    if not has_checksums(folder):
        return None
    known = json.loads(read_bounded(folder / CHECKSUMS, MAX_JSON_BYTES))
    if not isinstance(known, dict):
        raise ValueError(f"{CHECKSUMS} is no mapping of names to checksums")  # noqa: TRY004 - the file is wrong, not a type
    return known


def refuse(folder: Path, error: Exception, name: str = "") -> NoReturn:
    """Say that a folder is no bundle.

    Args:
        folder: that is none.
        error: what was wrong.
        name: of the file in it that was wrong.

    Raises:
        BundleError: always.
    """
    from pydantic import ValidationError

    told = mistakes_in_words(error) if isinstance(error, ValidationError) else str(error)
    reason = (told or type(error).__name__)[:500]
    detail = f"{name}: {reason}" if name else reason
    raise BundleError(f"{folder} is no bundle that `tuner export` or `tuner train` wrote: {detail}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no finite number")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
