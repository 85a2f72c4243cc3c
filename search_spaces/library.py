"""The packaged search spaces, and files of the user's own."""

from __future__ import annotations

import codecs
import os
import stat
from importlib.resources.abc import Traversable
from pathlib import Path

from search_spaces.errors import Mistake, SpaceError, nearest
from search_spaces.packaged import NAMES
from search_spaces.parsing.yaml_document import MAX_BYTES
from trainables.config.plugins.registries import Entry, Registry, RegistryView, explain_value
from trainables.errors import UserError

TABLE = Registry("spaces", {name: f"search_spaces.packaged:{name}" for name in NAMES})
"""Texts of search spaces or the paths of their files: ours, and those of installed packages."""


def names() -> tuple[str, ...]:
    """Return the names of the packaged search spaces, sorted, then those of installed packages."""
    return TABLE.names()


def _text_of_entry(entry: Entry) -> tuple[str, str]:
    """Return the text of a space, and what to call it: of a package, the path of its file.

    Raises:
        UserError: it is a package's and cannot be used.
    """
    found = entry.load()
    if isinstance(found, str):
        return found, f"{entry.name}.yaml"
    if not isinstance(found, Traversable):
        raise UserError(
            f"the space {entry.name} of {entry.package} must lead to its text or to the path of its file, not to "
            f"{explain_value(found)}"
        )
    if entry.package and isinstance(found, Path):
        return _text(found, str(found)), str(found)
    return found.read_text(encoding="utf-8"), f"{entry.name}.yaml"


SPACES = RegistryView(TABLE, _text_of_entry)
"""The text of each space, and what to call it in messages."""


def text_of(name_or_path: str) -> tuple[str, str]:
    """Return the text of a packaged space, of one of an installed package or of a file, and what to call it.

    A packaged name wins over a file of the same name; write ``./quick`` for the file.

    Raises:
        SpaceError: it is neither, or cannot be read as text.
        UserError: it is one of an installed package and cannot be used.
    """
    if name_or_path in SPACES:
        return SPACES[name_or_path]
    path = Path(name_or_path)
    try:
        return _text(path, name_or_path), name_or_path
    except (OSError, ValueError) as error:
        if isinstance(error, SpaceError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise _error(name_or_path, f"cannot be read: {reason}") from None


def _text(path: Path, source: str) -> str:
    if path.is_dir():
        raise _error(source, f"is a directory: name a file in it, or a packaged search space ({', '.join(names())})")
    if not path.exists():
        known = names()
        hint = nearest(path.stem, known)
        raise _error(source, f"neither a file nor a packaged search space{hint} (packaged: {', '.join(known)})")
    content = _content(path, source)
    if len(content) > MAX_BYTES:
        raise _error(source, f"a search space must be below {MAX_BYTES:,} bytes, not {path.stat().st_size:,}")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _error(source, "is text in UTF-16: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _error(source, f"is no text in UTF-8 (byte {error.start})") from None
    if "\0" in text:
        raise _error(source, "is no text: it holds zero bytes")
    return text


def _content(path: Path, source: str) -> bytes:
    """Return the first bytes of a regular file, more than `MAX_BYTES` if there are more; never waits for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, which cannot become another file meanwhile
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _error(source, "is no regular file")
        return file.read(MAX_BYTES + 1) or b""


def _error(source: str, message: str) -> SpaceError:
    return SpaceError(source, [Mistake(None, (), message)])
