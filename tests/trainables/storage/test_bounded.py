"""Only regular files, up to a size: whatever else lies at a path is refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainables.storage.bounded import append_regular, read_bounded


@pytest.fixture(params=["pipe", "/dev/zero", "/dev/full", "folder"])
def irregular(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return what may lie at a path other than a regular file."""
    path = tmp_path / "file"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    else:
        path.symlink_to(request.param)
    return path


def test_nothing_but_a_regular_file_is_read_or_added_to(irregular: Path):
    for use in (lambda: read_bounded(irregular, 10), lambda: append_regular(irregular)):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory|No such device"):
            use()


def test_a_file_is_read_up_to_a_size(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert read_bounded(tmp_path / "file", 10) == b"x" * 10
    with pytest.raises(OSError, match="more than 9 bytes"):
        read_bounded(tmp_path / "file", 9)


def test_a_file_is_made_and_added_to(tmp_path: Path):
    for content in (b"a", b"b"):
        with append_regular(tmp_path / "file") as file:
            file.write(content)
    assert (tmp_path / "file").read_bytes() == b"ab"
