"""The metrics of a run: a file of JSON lines, one for each report, written by the driver alone.

The first line says of which run of which sweep the file is, with which settings (format 3), and every line has a
checksum, see `trainables.storage.checked_lines`. A file that an earlier release began has no such first line, and no
checksums before the first line that this release has added.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from pydantic_core import from_json

from trainables.storage.bounded import read_bounded
from trainables.storage.checked_lines import DamagedLineError, LineChecksums
from trainables.storage.run_identity import RunIdentity
from trainables.storage.sweep_store import SweepStore

FORMAT = 3
FILE = "metrics.jsonl"
_FIRST_KEY = b'{"format":'
_CHECKSUM = "crc"
_TAIL_BYTES = 4096
_MAX_BYTES = 256 * 1024**2
_MAX_STEP = 2**53


def append_row(folder: Path, row: dict[str, float], identity: RunIdentity, store: SweepStore) -> None:
    """Append the metrics of a report to a run's file; a last line that a crash cut off is removed first.

    Of a long file, only the end is read.

    Args:
        folder: of the run; must exist.
        row: the metrics by name.
        identity: of the run, for the first line of a new file.
        store: that the folder is in.

    Raises:
        OSError: it cannot be written; the file is as it was.
        DamagedLineError: the file has lines that are damaged, of those that had to be read.
    """
    path = folder / FILE
    with path.open("ab+") as file:
        last = _cut_to_whole_lines(file)
    lines = [json.dumps(row).encode()]
    if not last:
        checksums = LineChecksums()
        lines.insert(0, _header(identity))
    else:
        checksums = LineChecksums.after(last) or _checksums_of(path.read_bytes())
    store.append(path, b"".join(checksums.seal(line) + b"\n" for line in lines), sync=True)


def read_rows(folder: Path, identity: RunIdentity, *, is_sealed: bool = False) -> list[dict[str, float]]:
    """Return the metrics of every report of a run, in their order; a line that a crash cut off is left out.

    Args:
        folder: of the run.
        identity: of the run.
        is_sealed: whether the last line must have a checksum.

    Raises:
        DamagedLineError: a line is damaged, or the file belongs to another run.
    """
    return [_parse(line) for line in _verified_lines(folder, identity, is_sealed)]


def read_last_row(folder: Path, identity: RunIdentity, *, is_sealed: bool = False) -> dict[str, float]:
    """Return the metrics of a run's last report, empty if it has not reported; every line is verified.

    Args:
        folder: of the run.
        identity: of the run.
        is_sealed: see `read_rows`.

    Raises:
        DamagedLineError: a line is damaged, or the file belongs to another run.
    """
    lines = _verified_lines(folder, identity, is_sealed)
    return _parse(lines[-1]) if lines else {}


def names_its_run(folder: Path) -> bool | None:
    """Return whether a run's file says of which run it is; None if there is no file with a whole line."""
    lines = _whole_lines(folder)
    return lines[0].startswith(_FIRST_KEY) if lines else None


def _whole_lines(folder: Path) -> list[bytes]:
    try:
        content = read_bounded(folder / FILE, _MAX_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DamagedLineError(f"it cannot be read: {error.strerror or error}") from error
    return _split(content)


def _split(content: bytes) -> list[bytes]:
    return content.split(b"\n")[:-1]  # what follows the last line break was cut off by a crash


def _verified_lines(folder: Path, identity: RunIdentity, is_sealed: bool) -> list[bytes]:
    """Return the lines with metrics, each of them verified."""
    lines = _whole_lines(folder)
    checksums = LineChecksums()
    for line in lines:
        checksums.check(line)
    if is_sealed and lines and LineChecksums.after(lines[-1]) is None:
        raise DamagedLineError("it has no checksums, as that of an earlier release")
    if lines and lines[0].startswith(_FIRST_KEY):
        _check_header(lines[0], identity)
        return lines[1:]
    return lines


def _header(identity: RunIdentity) -> bytes:
    return json.dumps({"format": FORMAT, **identity.as_json()}).encode()


def _check_header(line: bytes, identity: RunIdentity) -> None:
    if line.startswith(_header(identity)[:-1]):
        return
    header = _load(line)
    if header["format"] != FORMAT:
        raise DamagedLineError(f"it has format {header['format']}, and this release reads format {FORMAT}")
    if mismatch := identity.mismatch(header):
        raise DamagedLineError(mismatch)


def _parse(line: bytes) -> dict[str, float]:
    row = _load(line)
    row.pop(_CHECKSUM, None)
    if not all(type(value) in (float, int) for value in row.values()) or not _is_step(row.get("step", -1)):
        raise DamagedLineError(f"a line is no report: {line[:80].decode(errors='replace')!r}")
    return row


def _is_step(value: float) -> bool:
    return 0 <= value <= _MAX_STEP and float(value).is_integer()


def _load(line: bytes) -> dict[str, float]:
    try:
        content = from_json(line, cache_strings="keys")
    except ValueError as error:
        raise DamagedLineError(f"a line is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise DamagedLineError(f"a line is no JSON object: {line[:80].decode(errors='replace')!r}")
    return content


def _cut_to_whole_lines(file: BinaryIO) -> bytes:
    """Remove what follows the last line break, and return the line before it; empty if there is none."""
    size, length = file.seek(0, os.SEEK_END), _TAIL_BYTES
    while True:
        file.seek(max(size - length, 0))
        tail = file.read()
        lines = tail.split(b"\n")
        if len(lines) > 2 or length >= size:
            break
        length *= 2
    if lines[-1]:
        file.truncate(size - len(lines[-1]))
    return lines[-2] if len(lines) > 1 else b""


def _checksums_of(content: bytes) -> LineChecksums:
    """Return the checksums of a file without any, of an earlier release."""
    checksums = LineChecksums()
    for line in _split(content):
        checksums.check(line)
    return checksums
