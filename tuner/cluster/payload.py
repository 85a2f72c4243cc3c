"""What travels between this machine and a cluster's job: a request there, and back what the command said and wrote.

Both are text, because a job's description and its log are all that surely passes between the two: no shared disk, no
open port but the Jobs API. Nothing is unpickled, and what is unpacked stays in the folder that it is meant for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import platform
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from tuner.errors import UserError
from tuner.sweep.provenance import versions

FORMAT = 1
# Linux passes on at most 128 KiB as one variable, and Ray puts the whole description of a job into one.
MAX_REQUEST = 100_000
MAX_ANSWER = 256 * 1024**2
BEGIN = "--- tuner begins"
ANSWER = "--- tuner answers"
ERROR_MARK = "\x01"  # begins each line of standard error where a job's log holds both


class Marked(io.TextIOBase):
    """Standard error of a job: its lines can be told from those of standard output, which the same log holds."""

    def __init__(self, log: TextIO) -> None:
        super().__init__()
        self._log = log
        self._is_line_begun = False

    def writable(self) -> bool:
        """Say that text can be written."""
        return True

    def fileno(self) -> int:
        """Return where the log is written."""
        return self._log.fileno()

    def write(self, text: str) -> int:
        """Add text as it is, but for the marks."""
        for line in io.StringIO(text):
            self._log.write(line if self._is_line_begun else f"{ERROR_MARK}{line}")
            self._is_line_begun = not line.endswith("\n")
        self._log.flush()
        return len(text)


@dataclass(frozen=True)
class Request:
    """What a job is to know beside its command: the releases that are expected, and the files that go along."""

    versions: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    is_captured: bool = False
    folder: str = ""
    """Of this machine, in place of the job's own in what is printed."""

    def encode(self) -> str:
        """Return it as a short line.

        Raises:
            UserError: the files are too large.
        """
        text = base64.b64encode(zlib.compress(json.dumps({"format": FORMAT, **asdict(self)}).encode(), 9)).decode()
        if len(text) > MAX_REQUEST:
            raise UserError(
                f"what goes along with a job must be below {MAX_REQUEST:,} bytes when it is packed, not {len(text):,}: "
                "shorten the space, or put it into the cluster's image as a packaged one"
            )
        return text

    @classmethod
    def decode(cls, text: str) -> Request:
        """Return what `encode` made a line of.

        Raises:
            ValueError: it is none.
        """
        content = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        if content.pop("format") != FORMAT:
            raise ValueError("a request of another format")
        return cls(**content)


@dataclass(frozen=True)
class Answer:
    """What a command has printed, and the files that it has made."""

    output: str
    errors: str
    files: bytes = b""

    def encode(self) -> str:
        """Return it as two lines, the first of which knows the checksum of the second."""
        parts = {"format": FORMAT, "output": self.output, "errors": self.errors}
        content = zlib.compress(json.dumps({**parts, "files": base64.b64encode(self.files).decode()}).encode())
        return f"{ANSWER} {hashlib.sha256(content).hexdigest()}\n{base64.b64encode(content).decode()}\n"

    @classmethod
    def find(cls, log: str) -> Answer | None:
        """Return the answer in a job's log, None if it holds none.

        Raises:
            UserError: it is damaged.
        """
        before, mark, rest = log.rpartition(f"{ANSWER} ")
        if not mark or (before and not before.endswith("\n")):
            return None
        digest, _, body = rest.partition("\n")
        try:
            content = base64.b64decode(body.strip(), validate=True)
        except binascii.Error:
            content = b""
        if hashlib.sha256(content).hexdigest() != digest.strip():
            raise UserError("the cluster's answer came damaged or cut short: its checksum does not fit; ask again")
        parts = json.loads(zlib.decompress(content))
        return cls(parts["output"], parts["errors"], base64.b64decode(parts["files"]))


def pack(folder: Path, leave_out: Sequence[str] = ()) -> bytes:
    """Return everything in a folder as an archive; nothing for an empty one.

    Raises:
        UserError: it is too much to pass through a log.
    """
    found = sorted(path for path in folder.iterdir() if path.name not in leave_out)
    size = sum(path.stat().st_size for top in found for path in (top, *top.rglob("*")) if path.is_file())
    if size > MAX_ANSWER:
        raise UserError(
            f"{size / 1e6:.0f} MB are too much to be sent back ({MAX_ANSWER / 1e6:.0f} MB at most): run the command "
            "where the storage can be reached, with --storage and without --cluster"
        )
    if not found:
        return b""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in found:
            archive.add(path, arcname=path.name)
    return packed.getvalue()


def unpack(packed: bytes, folder: Path, may_replace: str | None = None) -> None:
    """Put what `pack` packed into a folder: all of it, or nothing.

    Args:
        packed: an archive.
        folder: made if it is missing.
        may_replace: the name of a file that somebody has asked for; nothing else takes the place of what is there.

    Raises:
        UserError: something is there already, leads out of the folder, or cannot be written.
    """
    if not packed:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".tuner-", dir=folder) as temporary,
            tarfile.open(fileobj=io.BytesIO(packed)) as archive,
        ):
            archive.extractall(temporary, filter="data")
            _place(Path(temporary), folder, may_replace)
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"what the cluster sent cannot be put into {folder}: {error}") from error


def _place(source: Path, target: Path, may_replace: str | None) -> None:
    files = [path.relative_to(source) for path in source.rglob("*") if not path.is_dir()]
    for file in files:
        if (target / file).exists() and str(file) != may_replace:
            raise FileExistsError(f"{target / file} is there already: remove it or choose another --output")
    _move(source, target)


def _move(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        to = target / path.name
        if path.is_dir() and to.is_dir():
            _move(path, to)
        else:
            path.rename(to)


REQUEST = "tuner.request"


def releases() -> dict[str, str]:
    """Return what must be the same on both sides; of Python, major and minor release."""
    found = versions()
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, **{name: found.get(name, "none") for name in ("ray", "adversarial-tuner")}}


def check_releases(expected: Mapping[str, str], there: Mapping[str, str]) -> None:
    """Refuse to work with another release than was expected.

    Raises:
        UserError: with every pair that differs.
    """
    pairs = [(name, there.get(name, "none"), wanted) for name, wanted in expected.items()]
    differing = [f"{name} {has} against {wanted} here" for name, has, wanted in pairs if has != wanted]
    if differing:
        raise UserError(
            f"the cluster has {', '.join(differing)}: install the same on both sides (its image, or this machine)"
        )
