"""What this machine and a job on a cluster send each other: a request, and the output and files of its command.

Both are text, because they pass through the job's description and its log: the two machines share no disk, and no port
is open but that of the Jobs API. Nothing is unpickled; of what a cluster sends, nothing is written but the files that
the command makes, up to a size.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import platform
import re
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TextIO

from trainables.config.plugins.user_code import CODE
from trainables.storage.atomic import whole_folder, write_whole
from tuner.errors import UserError
from tuner.sweep.provenance import versions

FORMAT = 1
# Linux passes on at most 128 KiB as one variable, and Ray puts the whole description of a job into one.
MAX_REQUEST = 100_000
MAX_RESULT = 64 * 1024**2
_MAX_CONTENT = 2 * MAX_RESULT  # base64 of that, and what the command has printed
_MAX_FILES = 100
BEGIN = "--- tuner begins"
REQUEST = "tuner.request"  # the key of a job's metadata
RESULT = "--- tuner answers"
UPLOADED = "uploaded-files"  # folder of a job's current one; no name of a module
_CONTROL = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
ERROR_MARK = "\x01"  # begins each line of standard error where a job's log holds both


class StderrMarker(io.TextIOBase):
    """A stream for the standard error of a job; a mark tells its lines from those of standard output in the same log.

    Args:
        log: the stream that both are written to.
    """

    def __init__(self, log: TextIO) -> None:
        super().__init__()
        self._log = log
        self._is_line_begun = False

    def writable(self) -> bool:
        """Return True: text can be written."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor of the log."""
        return self._log.fileno()

    def write(self, text: str) -> int:
        """Write text with `ERROR_MARK` before every line; return the number of characters of the text."""
        for line in io.StringIO(text):
            self._log.write(line if self._is_line_begun else f"{ERROR_MARK}{line}")
            self._is_line_begun = not line.endswith("\n")
        self._log.flush()
        return len(text)


@dataclass(frozen=True)
class Request:
    """What is sent to a job beside its command.

    Args:
        versions: the releases that the cluster must have, see `releases`.
        files: texts by the names of the files that the job puts them into.
        is_captured: whether output and files are sent back as one `CommandResult` when the command has ended.
        folder: a folder of the sender; its path replaces that of the job's folder in captured output.
    """

    versions: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    is_captured: bool = False
    folder: str = ""

    def encode(self) -> str:
        """Return the request as one line of base64.

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
        """Return the request that `encode` has made a line of.

        Raises:
            ValueError: the line holds no request of this format.
        """
        content = json.loads(_decompress(base64.b64decode(text, validate=True)))
        if content.pop("format") != FORMAT:
            raise ValueError("a request of another format")
        return cls(**content)


@dataclass(frozen=True)
class CommandResult:
    """What a captured command has printed, and the files that it has made.

    Args:
        output: its standard output.
        errors: its standard error.
        files: an archive, see `pack`.
    """

    output: str
    errors: str
    files: bytes = b""

    def encode(self) -> str:
        """Return the result as two lines, the first of which holds the SHA-256 of the second."""
        parts = {"format": FORMAT, "output": self.output, "errors": self.errors}
        content = zlib.compress(json.dumps({**parts, "files": base64.b64encode(self.files).decode()}).encode())
        return f"{RESULT} {hashlib.sha256(content).hexdigest()}\n{base64.b64encode(content).decode()}\n"

    @classmethod
    def find(cls, log: str) -> CommandResult | None:
        """Return the result in a job's log, None if it holds none.

        Raises:
            UserError: it is damaged.
        """
        before, mark, rest = log.rpartition(f"{RESULT} ")
        if not mark or (before and not before.endswith("\n")):
            return None
        digest, _, body = rest.partition("\n")
        try:
            content = base64.b64decode(body.strip(), validate=True)
        except binascii.Error:
            content = b""
        if hashlib.sha256(content).hexdigest() != digest.strip():
            raise UserError("the cluster's answer came damaged or cut short: its checksum does not fit; ask again")
        try:
            parts = json.loads(_decompress(content))
            return cls(str(parts["output"]), str(parts["errors"]), base64.b64decode(parts["files"], validate=True))
        except (ValueError, LookupError, TypeError, zlib.error, RecursionError) as error:
            raise UserError(f"the cluster's answer is none of this release: {error}") from error


def _decompress(content: bytes) -> bytes:
    """Return decompressed bytes.

    Raises:
        ValueError: they are more than anything that is sent.
    """
    decompressor = zlib.decompressobj()
    result = decompressor.decompress(content, _MAX_CONTENT)
    if decompressor.unconsumed_tail:
        raise ValueError(f"it is larger than {_MAX_CONTENT / 1e6:.0f} MB")
    return result


def pack(folder: Path, leave_out: Sequence[str] = ()) -> bytes:
    """Return the content of a folder as a tar archive; no bytes for an empty folder.

    Args:
        folder: what is packed.
        leave_out: names in the folder that are not.

    Raises:
        UserError: it is too large to be sent through a log.
    """
    paths = sorted(path for path in folder.iterdir() if path.name not in leave_out)
    size = sum(path.stat().st_size for top in paths for path in (top, *top.rglob("*")) if path.is_file())
    if size > MAX_RESULT:
        raise UserError(
            f"{size / 1e6:.0f} MB are too much to be sent back ({MAX_RESULT / 1e6:.0f} MB at most): run the command "
            "where the storage can be reached, with --storage and without --cluster"
        )
    if not paths:
        return b""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in paths:
            archive.add(path, arcname=path.name)
    return packed.getvalue()


@dataclass(frozen=True)
class Expected:
    """What a command makes on this machine: a file, or one or several folders of files.

    Args:
        path: a regular expression of its path below the folder that it is put into.
        suffixes: of the files that may be in a folder; none if it is a file.
        max_folders: how many folders it may make.
        has_code: whether a folder may have a folder ``code`` with files of Python, as a bundle has; they are not run.
    """

    path: str
    suffixes: frozenset[str] = frozenset()
    max_folders: int = 1
    has_code: bool = False

    def folder_of(self, path: PurePosixPath) -> PurePosixPath:
        """Return which of the folders that the command makes a file lies in."""
        is_code = self.has_code and path.parent.name == CODE
        return path.parent.parent if is_code else path.parent

    def includes(self, path: PurePosixPath) -> bool:
        """Return whether a file with that path is what the command makes, or in the folder that it makes."""
        if not self.suffixes:
            return re.fullmatch(self.path, str(path)) is not None
        folder = self.folder_of(path)
        if folder != path.parent:
            is_plain, suffixes = re.fullmatch(r"\w[\w.+ -]*", path.name, re.ASCII) is not None, frozenset({".py"})
        else:
            is_plain, suffixes = re.fullmatch(r"[A-Za-z0-9][\w.-]*", path.name) is not None, self.suffixes
        return is_plain and path.suffix in suffixes and re.fullmatch(self.path, str(folder)) is not None


def unpack(packed: bytes, folder: Path, expected: Expected | None = None) -> None:
    """Unpack an archive that `pack` made into a folder: all of it, or nothing.

    A file replaces one of its name, as the command does; a folder must be new.

    Args:
        packed: the archive.
        folder: made if it is missing.
        expected: what the command makes; None for a command that makes nothing.

    Raises:
        UserError: there is anything else in it, it is too large, a folder exists already, or it cannot be written.
    """
    if not packed:
        return
    try:
        files = _read_files(packed, expected)
        target = folder / next(iter(files), "")
        if not files:
            return
        if expected is None or not expected.suffixes:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, *files.values())
            return
        for made in dict.fromkeys(map(expected.folder_of, files)):
            if (folder / made).exists():
                raise FileExistsError(f"{folder / made} is there already: remove it or choose another --output")
        for made in dict.fromkeys(map(expected.folder_of, files)):
            with whole_folder(folder / made) as whole:
                for path, content in files.items():
                    if expected.folder_of(path) == made:
                        (whole / path.relative_to(made)).parent.mkdir(exist_ok=True)
                        (whole / path.relative_to(made)).write_bytes(content)
    except (OSError, ValueError, tarfile.TarError) as error:
        raise UserError(f"what the cluster sent cannot be put into {folder}: {error}") from error


def _read_files(packed: bytes, expected: Expected | None) -> dict[PurePosixPath, bytes]:
    """Return the files in an archive by their paths.

    Raises:
        ValueError: there is something that the command does not make, or too much.
    """
    files: dict[PurePosixPath, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as archive:  # not compressed: it cannot grow
        for member in archive:
            if member.isdir():
                continue
            path = PurePosixPath(member.name)
            if expected is None or not member.isreg() or member.issparse() or not expected.includes(path):
                raise ValueError(f"it holds {member.name!r}, which is no file that this command makes")
            folders = set(map(expected.folder_of, (path, *files)))
            if len(folders) > expected.max_folders or len(files) >= _MAX_FILES * expected.max_folders:
                raise ValueError("it holds more than this command makes")
            content = archive.extractfile(member)
            files[path] = content.read() if content else b""
    return files


def without_control(text: str) -> str:
    """Return text without characters that control a terminal, but for line ends, tabs and colours."""
    return _CONTROL.sub("", text)


def releases(also: Iterable[str] = ()) -> dict[str, str]:
    """Return the releases that must be the same on both sides; of Python, the minor release.

    Args:
        also: the names of further packages.
    """
    installed = versions()
    python = ".".join(platform.python_version_tuple()[:2])
    ours = {"Python": python, **{name: installed.get(name, "none") for name in ("ray", "adversarial-tuner")}}
    return {**{name: _version_of(name) for name in also}, **ours}


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        return "none"


def check_releases(expected: Mapping[str, str], installed: Mapping[str, str]) -> None:
    """Check that the releases on a cluster are those that the sender has.

    Raises:
        UserError: some differ; the message names each with both versions.
    """
    pairs = [(name, installed.get(name, "none"), wanted) for name, wanted in expected.items()]
    differing = [f"{name} {has} against {wanted} here" for name, has, wanted in pairs if has != wanted]
    if differing:
        raise UserError(
            f"the cluster has {', '.join(differing)}: install the same on both sides (its image, or this machine)"
        )
