"""Checksums for files of JSON lines, to which lines are only ever added: the study's journal, the metrics of a run.

Each line ends with a checksum of itself and of all lines before it (CRC-32), under the key ``crc``. A line that was
changed, removed, moved or copied from another file is noticed at the first line whose checksum differs. Lines without a
checksum, written by releases before format 3, may come first; the checksum of the first line after them covers them.
"""

from __future__ import annotations

import re
import zlib

from trainables.errors import TunerError

_SEAL = re.compile(rb',"crc":"([0-9a-f]{8})"\}\Z')
_LENGTH = len(b',"crc":"00000000"}')


class DamagedLineError(TunerError):
    """A line of a file is not what was written."""


class LineChecksums:
    """The checksums of one file, line after line.

    Args:
        start: a number that the first checksum covers: with different ones, lines of one file do not fit another.
    """

    def __init__(self, start: int = 0) -> None:
        self._last = start
        self._is_sealed = False
        self.num_lines = 0

    @classmethod
    def after(cls, line: bytes) -> LineChecksums | None:
        """Return the checksums of a file that ends with a line, to add more lines; None if it has no checksum."""
        match = _SEAL.search(line)
        return None if match is None else cls(int(match[1], 16))

    def seal(self, line: bytes) -> bytes:
        """Return a JSON object's line with its checksum, as the next line of the file.

        Args:
            line: a JSON object with at least one key, without a line break.
        """
        self._add(line[:-1], is_sealed=True)
        return line[:-1] + b',"crc":"%08x"}' % self._last

    def check(self, line: bytes) -> None:
        """Take the next line of the file, without its line break, as it was read.

        Raises:
            DamagedLineError: its checksum does not fit, or it has none although a line before it has one.
        """
        checksum = zlib.crc32(line[:-_LENGTH], self._last)
        if line[-_LENGTH:] == b',"crc":"%08x"}' % checksum:
            self._last, self._is_sealed = checksum, True
            self.num_lines += 1
            return
        match = _SEAL.search(line, len(line) - _LENGTH) if len(line) >= _LENGTH else None
        if match is None:
            if self._is_sealed:
                raise DamagedLineError(f"line {self.num_lines + 1} has no checksum")
            self._add(line, is_sealed=False)
            return
        self._add(line[: match.start()], is_sealed=True)
        if int(match[1], 16) != self._last:
            raise DamagedLineError(f"the checksum of line {self.num_lines} does not match")

    def _add(self, content: bytes, *, is_sealed: bool) -> None:
        self._last = zlib.crc32(content, self._last)
        self._is_sealed = is_sealed
        self.num_lines += 1
