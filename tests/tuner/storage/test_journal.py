"""The journal file: every line carries a checksum, and whatever is changed, removed, moved or doubled is noticed."""

from __future__ import annotations

import errno
import json
import os
import random

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.tuner.conftest import row, train_all
from tuner.errors import UserError
from tuner.results.follower import Follower
from tuner.search.ledger import Ledger
from tuner.storage import journal as journals
from tuner.storage.journal import FileReader, Journal
from tuner.sweep.reader import read_records, read_studies


@pytest.fixture
def finished(make_sweep):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    return sweep


def entries(path, sweep_id: str) -> list[dict[str, object]]:
    return list(FileReader(path, sweep_id).read_logs(0))


def refuse(sweep, content: bytes, words: str = "is damaged") -> None:
    sweep.journal.write_bytes(content)
    with pytest.raises(UserError, match=words) as refused:
        read_studies(sweep)
    assert str(sweep.journal) in str(refused.value)
    with pytest.raises(UserError, match=words):
        Ledger(sweep)
    assert sweep.journal.read_bytes() == content, "whoever refuses changes nothing"


def test_every_line_is_sealed_and_optuna_reads_them(finished):
    lines = finished.journal.read_bytes().splitlines()
    assert all("crc" in json.loads(line) for line in lines)
    study = optuna.load_study(study_name="search", storage=JournalStorage(JournalFileBackend(str(finished.journal))))
    assert [trial.values for trial in study.trials] == [
        trial.values for trial in read_studies(finished)["search"].trials
    ]


@pytest.mark.parametrize("reason", ["\udc80 is half a pair", "\N{SNOWMAN} \n \x00", "1e400"])
def test_text_of_any_kind_is_read_as_it_was_written(tmp_path, reason):
    journal = Journal(tmp_path / "journal", "a")
    assert list(journal.read_logs(0)) == []
    entry = {"op_code": 8, "trial_id": 0, "user_attr": {"reason": reason, "value": 1e-300, "number": 2**70}}
    journal.append_logs([entry])
    (read,) = entries(tmp_path / "journal", "a")
    assert list(journal.read_logs(1)) == [entry] == [{name: read[name] for name in entry}]


def test_an_entry_that_is_no_object_is_damage(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(b'["op_code"]\n')
    with pytest.raises(UserError, match="no JSON object"):
        entries(path, "a")


def test_every_bit_of_every_number_is_noticed(finished):
    content = finished.journal.read_bytes()
    digits = [place for place, byte in enumerate(content) if byte in b"0123456789"]
    for place in random.Random(0).sample(digits, 40):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            finished.journal.write_bytes(flipped)
            with pytest.raises(UserError, match="is damaged"):
                entries(finished.journal, finished.id)


def test_lines_that_are_removed_moved_doubled_or_of_another_sweep_are_noticed(finished, make_sweep):
    lines = finished.journal.read_bytes().splitlines(keepends=True)
    for number in (0, 3, len(lines) // 2):
        refuse(finished, b"".join(lines[:number] + lines[number + 1 :]))
        refuse(finished, b"".join(lines[:number] + lines[number + 1 : number + 2] + lines[number:]))
        swapped = [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]]
        refuse(finished, b"".join(swapped))
        bare = lines[number][: lines[number].rindex(b',"crc"')] + b"}\n"
        refuse(finished, b"".join([*lines[:number], bare, *lines[number + 1 :]]))
    other = make_sweep(name="other")
    Ledger(other)
    refuse(finished, other.journal.read_bytes())
    refuse(finished, b"".join(lines) + lines[-1])


def test_what_is_no_line_is_refused_in_words(finished, monkeypatch):
    lines = finished.journal.read_bytes().splitlines(keepends=True)
    for text in (
        b"\n",
        b"[]\n",
        b"7\n",
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        b'{"op_code":99,"worker_id":"x"}\n',
        b"{}\n",
    ):
        refuse(finished, text + b"".join(lines))
        refuse(finished, text)
    monkeypatch.setattr(journals, "_MAX_LINE_BYTES", 1000)
    refuse(finished, b"{" * 1001, "over 1000 bytes")


def test_a_pipe_and_a_folder_in_its_place_are_refused_at_once(finished):
    finished.journal.unlink()
    for make, remove in ((os.mkdir, os.rmdir), (os.mkfifo, os.unlink)):
        make(finished.journal)
        with pytest.raises(UserError, match="not a regular file"):
            read_studies(finished)
        with pytest.raises(UserError, match="not a regular file"):
            Ledger(finished)
        remove(finished.journal)


def test_lines_of_earlier_releases_come_first_and_are_covered_by_the_next(make_sweep):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    lines = sweep.journal.read_bytes().splitlines()
    bare = [line[: line.rindex(b',"crc"')] + b"}" for line in lines]
    sweep.journal.write_bytes(b"\n".join(bare) + b"\n")
    before = [(one.run.key, one.state, one.value) for one in read_records(sweep)]
    extended = sweep.extended(num_trials=sweep.num_trials + 1)
    train_all(Ledger(extended))
    assert [(one.run.key, one.state, one.value) for one in read_records(extended)][: len(before)] == before
    content = sweep.journal.read_bytes()
    refuse(sweep, content.replace(b'"op_code":4', b'"op_code":5', 1))
    refuse(sweep, content.replace(bare[3] + b"\n", b"", 1))


def test_an_unfinished_last_line_is_left_out_and_known(finished):
    content = finished.journal.read_bytes()
    num_lines, last = content.count(b"\n"), content.splitlines()[-1]
    for cut in (1, 5, 40, len(last)):
        finished.journal.write_bytes(content[:-cut])
        reader = FileReader(finished.journal, finished.id)
        assert len(list(reader.read_logs(0))) == num_lines - 1
        assert reader.num_unfinished_bytes == len(last) + 1 - cut
    list(Journal(finished.journal, finished.id).read_logs(0))
    assert finished.journal.read_bytes() == content[: -len(last) - 1]


def test_what_a_crash_does_not_leave_behind_the_last_line_is_damage(finished):
    content = finished.journal.read_bytes()
    for bit in range(8):
        refuse(finished, content[:-1] + bytes([ord("\n") ^ 1 << bit]), "has no line break")
    refuse(finished, content + b"x", "has no line break")
    refuse(finished, b"name: tiny", "has no line break")


def test_a_follower_reads_each_line_once_and_notices_damage(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    follower = Follower(sweep)
    run = ledger.next_run()
    follower.refresh()
    assert follower.records[run.key].state == "running"
    size = sweep.journal.stat().st_size
    ledger.complete(run.key, row(3))
    content = sweep.journal.read_bytes()
    damaged = content[: size + 20] + bytes([content[size + 20] ^ 1]) + content[size + 21 :]
    sweep.journal.write_bytes(damaged)
    with pytest.raises(UserError, match="is damaged"):
        follower.refresh()
    for words, change in (("become shorter", lambda: os.truncate(sweep.journal, 100)), ("gone", sweep.journal.unlink)):
        sweep.journal.write_bytes(content)
        follower = Follower(sweep)
        change()
        with pytest.raises(UserError, match=words):
            follower.refresh()


def test_what_could_not_be_written_leaves_the_checksums_as_they_were(make_sweep, monkeypatch):
    sweep = make_sweep()
    ledger = Ledger(sweep)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journals, "append_whole", full)
        with pytest.raises(OSError, match="No space left"):
            ledger.give_up("for a test")
    train_all(Ledger(sweep))
    ledger = Ledger(sweep)
    assert ledger.is_complete
