"""Machines prove to each other that they see the same folder."""

import shutil
import socket

import pytest

from tests.support.disks import NEEDS_ROOT, mounted
from trainables.errors import StorageError
from trainables.storage import shared as shared_storage
from trainables.storage.atomic import is_storage_trouble, whole_folder, write_whole
from trainables.storage.shared import answer, arrives, leave_mark, prove


@pytest.fixture(autouse=True)
def _without_patience(monkeypatch):
    monkeypatch.setattr(shared_storage, "_ARRIVES_WITHIN_S", 0.0)


@pytest.fixture
def place(tmp_path):
    return str(tmp_path)


def test_who_sees_the_mark_is_seen_by_who_left_it(place):
    mark = leave_mark(place)
    assert arrives(place, answer(place, mark))


def test_another_folder_at_the_same_path_is_noticed(tmp_path):
    mark = leave_mark(str(tmp_path))
    shutil.rmtree(tmp_path)
    with pytest.raises(StorageError, match=f"{tmp_path} is not the folder that the driver writes into") as error:
        answer(str(tmp_path), mark)
    assert is_storage_trouble(error.value)


def test_a_mark_of_earlier_counts_no_more(tmp_path):
    old = leave_mark(str(tmp_path))
    leave_mark(str(tmp_path))
    with pytest.raises(StorageError):
        answer(str(tmp_path), old)


@NEEDS_ROOT
def test_a_folder_that_can_only_be_read_is_named_with_its_machine(tmp_path):
    mark = leave_mark(str(tmp_path))
    with (
        mounted(tmp_path / "seen", "--bind", "-o", "ro", str(tmp_path)) as seen,
        pytest.raises(StorageError, match=r"/seen: .*Read-only"),
    ):
        answer(str(seen), mark)


def test_a_proof_leaves_nothing_and_is_made_once_in_a_process(tmp_path):
    mark = leave_mark(str(tmp_path))
    prove(str(tmp_path), mark)
    assert [path.name for path in tmp_path.iterdir()] == [mark]
    shutil.rmtree(tmp_path)
    prove(str(tmp_path), mark)
    prove.cache_clear()
    with pytest.raises(StorageError, match=f"on {socket.gethostname()}, {tmp_path} is not"):
        prove(str(tmp_path), mark)


def test_processes_of_the_same_number_on_two_machines_do_not_share_temporary_names(tmp_path):
    target = tmp_path / "target"
    with whole_folder(target, replace=True) as first, whole_folder(target, replace=True) as second:
        (first / "file").write_text("first")
        assert list(second.iterdir()) == []
        (second / "file").write_text("second")
    assert (target / "file").read_text() == "first"
    write_whole(target / "file", b"whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "file"]
