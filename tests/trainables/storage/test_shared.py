"""Machines verify that they share a folder."""

import shutil
import socket

import pytest

from tests.support.disks import NEEDS_ROOT, mounted
from trainables.errors import StorageError
from trainables.storage import shared as shared_storage
from trainables.storage.atomic import is_storage_trouble, whole_folder, write_whole
from trainables.storage.shared import answer_probe, is_visible, verify, write_probe


@pytest.fixture(autouse=True)
def _without_patience(monkeypatch):
    monkeypatch.setattr(shared_storage, "_VISIBLE_WITHIN_S", 0.0)


@pytest.fixture
def place(tmp_path):
    return str(tmp_path)


def test_who_sees_the_mark_is_seen_by_who_left_it(place):
    probe = write_probe(place)
    assert is_visible(place, answer_probe(place, probe))


def test_another_folder_at_the_same_path_is_noticed(tmp_path):
    probe = write_probe(str(tmp_path))
    shutil.rmtree(tmp_path)
    with pytest.raises(StorageError, match=f"{tmp_path} is not the folder that the driver writes into") as error:
        answer_probe(str(tmp_path), probe)
    assert is_storage_trouble(error.value)


def test_a_mark_of_earlier_counts_no_more(tmp_path):
    old = write_probe(str(tmp_path))
    write_probe(str(tmp_path))
    with pytest.raises(StorageError):
        answer_probe(str(tmp_path), old)


@NEEDS_ROOT
def test_a_folder_that_can_only_be_read_is_named_with_its_machine(tmp_path):
    probe = write_probe(str(tmp_path))
    with (
        mounted(tmp_path / "seen", "--bind", "-o", "ro", str(tmp_path)) as seen,
        pytest.raises(StorageError, match=r"/seen: .*Read-only"),
    ):
        answer_probe(str(seen), probe)


def test_a_proof_leaves_nothing_and_is_made_once_in_a_process(tmp_path):
    probe = write_probe(str(tmp_path))
    verify(str(tmp_path), probe)
    assert [path.name for path in tmp_path.iterdir()] == [probe]
    shutil.rmtree(tmp_path)
    verify(str(tmp_path), probe)
    verify.cache_clear()
    with pytest.raises(StorageError, match=f"on {socket.gethostname()}, {tmp_path} is not"):
        verify(str(tmp_path), probe)


def test_processes_of_the_same_number_on_two_machines_do_not_share_temporary_names(tmp_path):
    target = tmp_path / "target"
    with whole_folder(target, replace=True) as first, whole_folder(target, replace=True) as second:
        (first / "file").write_text("first")
        assert list(second.iterdir()) == []
        (second / "file").write_text("second")
    assert (target / "file").read_text() == "first"
    write_whole(target / "file", b"whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "file"]
