"""The number of lines that a driver leaves in the study's journal: lines that the end has lost since are noticed."""

from __future__ import annotations

import contextlib
import logging

import pytest

from tests.tuner.conftest import train, train_all
from tuner.errors import UserError
from tuner.search.ledger import Ledger
from tuner.storage.driver_lock import read_lines_left
from tuner.sweep.snapshot import read_snapshot


@pytest.fixture
def sweep(make_sweep):
    """Return a sweep that a driver has completed."""
    sweep = make_sweep(num_trials=2)
    with sweep.lock():
        train_all(Ledger(sweep))
    return sweep


def lines_of(sweep) -> list[bytes]:
    return sweep.journal.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 5, -1])
def test_a_journal_without_its_last_lines_is_noticed(sweep, run, lost):
    """Without the last few, it looks like that of a driver that was killed."""
    assert read_snapshot(sweep).problems == ()
    lines = lines_of(sweep)
    sweep.journal.write_bytes(b"".join(lines[: len(lines) - lost] if lost > 0 else []))
    (problem,) = read_snapshot(sweep).problems
    assert f"last driver left {len(lines)}: it is an older copy" in problem
    for command in (["status", "tiny"], ["verify", "tiny"], ["status"]):
        code, output = run(*command, "--home", str(sweep.store.root))
        assert (code, "older copy" in output) == (0 if command == ["status"] else 2, True), output


def test_who_does_not_drive_it_leaves_the_number(sweep, caplog):
    lines = lines_of(sweep)
    sweep.journal.write_bytes(b"".join(lines[:-1]))
    with caplog.at_level(logging.WARNING), sweep.lock():
        pass  # as `tuner evaluate` and `tuner sync` do
    assert "its end was cut off" in caplog.text
    assert read_lines_left(sweep.folder, sweep.id) == len(lines)


def test_who_goes_on_leaves_another_number(sweep):
    sweep.journal.write_bytes(b"".join(lines_of(sweep)[:-1]))
    with sweep.lock():
        train_all(Ledger(sweep))
    assert read_lines_left(sweep.folder, sweep.id) == len(lines_of(sweep))
    assert read_snapshot(sweep).problems == ()


def test_a_driver_that_was_killed_has_left_the_number_at_its_beginning(sweep):
    before = len(lines_of(sweep))
    lock = sweep.extended(3).lock()
    lock.__enter__()
    ledger = Ledger(sweep.extended(3))
    train(ledger, ledger.next_run())
    assert read_lines_left(sweep.folder, sweep.id) == before < len(lines_of(sweep))
    lock.__exit__(None, None, None)


def test_a_folder_that_is_not_there_any_more_gets_no_file(sweep):
    with sweep.lock():
        sweep.folder.rename(sweep.folder.with_name("moved"))
        sweep.folder.mkdir()
    assert list(sweep.folder.iterdir()) == []


def test_what_an_earlier_release_wrote_says_nothing(sweep):
    sweep.store.write_json(sweep.folder / "owner.json", {"format": 1, "sweep_id": sweep.id, "pid": 1, "host": "a"})
    sweep.journal.write_bytes(b"".join(lines_of(sweep)[:-1]))
    assert read_lines_left(sweep.folder, sweep.id) == 0
    assert read_snapshot(sweep).problems == ()


@pytest.mark.parametrize("name", [".lock", "study.journal", "owner.json"])
@pytest.mark.parametrize("kind", ["folder", "link to itself", "link to a device"])
def test_what_is_no_file_in_the_place_of_one_is_named(sweep, name, kind):
    path = sweep.folder / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if "itself" in kind else "/dev/zero")
    is_replaced = name == "owner.json" and kind != "folder"
    with contextlib.nullcontext() if is_replaced else pytest.raises(UserError, match=f"^{path} "), sweep.lock():
        assert path.is_file()
        assert not path.is_symlink()
    assert not sweep.is_running()
