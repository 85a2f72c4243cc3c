"""Files with their digest in the journal: what was written last is known from an older copy."""

from __future__ import annotations

import pytest
from optuna.storages import JournalStorage

from trainables.storage.sweep_store import SweepStore
from tuner.storage.journal import Journal
from tuner.storage.recorded_files import RecordedFiles


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens the files of a folder anew, as the next process does."""
    (tmp_path / "study.journal").touch()

    def open_files() -> RecordedFiles:
        journal = Journal(tmp_path / "study.journal", "0" * 32)
        return RecordedFiles(tmp_path, SweepStore(tmp_path), journal, JournalStorage(journal))

    return open_files


def test_an_older_copy_is_known_in_this_process_and_in_the_next(opened, tmp_path):
    path = tmp_path / "final.json"
    files = opened()
    files.write_json(path, {"robust": 0.5})
    older = path.read_bytes()
    files.write_json(path, {"robust": 0.6})
    for each in (files, opened()):
        assert each.is_newest(path)
    path.write_bytes(older)
    for each in (files, opened()):
        assert not each.is_newest(path)


def test_of_a_file_that_was_never_recorded_nothing_is_known(opened, tmp_path):
    path = tmp_path / "final.json"
    path.write_text("{}")
    assert opened().is_newest(path)
    assert (tmp_path / "study.journal").read_bytes() == b"", "to ask writes nothing"


def test_a_file_that_cannot_be_written_is_not_taken_for_the_newest(opened, tmp_path):
    path = tmp_path / "final.json"
    files = opened()
    files.write_json(path, {"robust": 0.5})
    older = path.read_bytes()
    missing = tmp_path / "gone" / "final.json"
    with pytest.raises(OSError, match="gone"):
        files.write_json(missing, {"robust": 0.6})
    missing.parent.mkdir()
    missing.write_bytes(older)
    assert not opened().is_newest(missing)


def test_each_path_has_a_digest_of_its_own(opened, tmp_path):
    files = opened()
    for name in ("a.json", "b.json"):
        files.write_json(tmp_path / name, {"name": name})
    (tmp_path / "a.json").write_bytes((tmp_path / "b.json").read_bytes())
    assert [opened().is_newest(tmp_path / name) for name in ("a.json", "b.json")] == [False, True]
