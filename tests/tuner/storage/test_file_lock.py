"""A lock on a file itself: one process holds it, others look, and a file that was replaced is not the one it locks."""

from __future__ import annotations

import pytest
from filelock import Timeout

from tuner.storage.file_lock import is_locked, locked


def test_one_holds_it_and_others_see_it(tmp_path):
    path = tmp_path / "study.journal"
    assert not is_locked(path)
    assert not path.exists()
    with locked(path, 0.0):
        assert is_locked(path)
        with pytest.raises(Timeout), locked(path, 0.0):
            pass
        assert is_locked(path)
    assert not is_locked(path)
    assert path.read_bytes() == b""


def test_writing_and_closing_the_file_elsewhere_in_the_process_keeps_the_lock(tmp_path):
    path = tmp_path / "study.journal"
    with locked(path, 0.0):
        with path.open("ab") as file:
            file.write(b"line\n")
        assert is_locked(path)
    assert path.read_bytes() == b"line\n"


def test_a_file_that_replaces_another_while_its_lock_is_waited_for_is_locked_itself(tmp_path, monkeypatch):
    path = tmp_path / "study.journal"
    taken = []

    def flock(descriptor: int, kind: int) -> None:
        if not taken:
            (tmp_path / "copy").replace(path)
        taken.append(descriptor)

    path.write_bytes(b"old")
    (tmp_path / "copy").write_bytes(b"new")
    monkeypatch.setattr("tuner.storage.file_lock.fcntl.flock", flock)
    with locked(path, 1.0):
        assert len(taken) == 2


def test_a_file_that_cannot_be_read_is_not_locked(tmp_path):
    assert not is_locked(tmp_path / "folder" / "study.journal")
