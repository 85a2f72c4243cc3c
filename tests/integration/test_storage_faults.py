"""What happens when the disk under a sweep is full, frozen, locked or read-only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import resource
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.disks import NEEDS_ROOT, fill, mounted, small_disk
from tests.tuner.conftest import SPACE, row, train, train_all
from tuner.errors import UserError
from tuner.execution.failures import FailurePolicy
from tuner.execution.preflight import check_storage
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics


def make(home: Path, text: str = SPACE) -> SweepFolder:
    return SweepFolder.create("tiny", text, "tiny.yaml", home=home)


def report_until_full(sweep: SweepFolder) -> tuple[Ledger, dict[str, list]]:
    """Report runs to the end of the disk; return the ledger and what it had taken in."""
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        train(ledger, run)
        if run.key == "trial-0001":
            break
    return ledger, {record.run.key: read_metrics(record.run) for record in read_records(sweep)}


def check_goes_on(sweep: SweepFolder, before: dict[str, list]) -> None:
    train_all(Ledger(sweep))
    records = read_records(sweep)
    assert len(records) == 6
    assert {record.state for record in records} == {"complete"}
    for record in records:
        rows = read_metrics(record.run)
        assert [one["step"] for one in rows] == [1, 2, 3]
        assert rows[: len(before.get(record.run.key, []))] == before.get(record.run.key, [])


def fail_to_write(ledger: Ledger) -> None:
    """Go on with the next run against a full disk, as a driver does."""
    policy = FailurePolicy(None)
    try:
        for run in iter(ledger.next_run, None):
            for step in (1, 2):
                ledger.report(run.key, row(step))
            ledger.complete(run.key, row(3))
    except OSError as error:
        policy.storage_failed(error)
    assert policy.fatal is not None
    assert "cannot be written" in str(policy.fatal)


@NEEDS_ROOT
def test_a_full_disk_leaves_the_ledger_whole_and_the_sweep_goes_on_when_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk", "1m") as disk:
        sweep = make(disk)
        ledger, before = report_until_full(sweep)
        filler = fill(disk)
        fail_to_write(ledger)
        assert sweep.journal.read_bytes().endswith(b"\n")
        assert {record.run.key: read_metrics(record.run) for record in read_records(sweep)} | before == {
            record.run.key: read_metrics(record.run) for record in read_records(sweep)
        }
        filler.unlink()
        check_goes_on(sweep, before)


def test_a_file_that_may_not_grow_is_cut_back_to_whole_lines(tmp_path):
    sweep = make(tmp_path)
    ledger, before = report_until_full(sweep)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sweep.journal.stat().st_size + 10, hard))
    try:
        fail_to_write(ledger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sweep.journal.read_bytes().endswith(b"\n")
    check_goes_on(sweep, before)


@NEEDS_ROOT
def test_a_disk_without_room_is_refused_beforehand_with_both_numbers(tmp_path):
    with small_disk(tmp_path / "disk", "2m") as disk:
        sweep = make(disk)
        with pytest.raises(UserError, match=r"has [12]\.\d MB of free disk, .* need about \d\d"):
            check_storage(sweep, sweep.num_runs)
        fill(disk)
        with pytest.raises(UserError, match=r"cannot write into .*No space left"):
            check_storage(sweep, sweep.num_runs)


@NEEDS_ROOT
def test_a_folder_that_cannot_be_written_is_refused_and_can_be_read(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "4m"):
        sweep = make(disk)
        train_all(Ledger(sweep))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(UserError, match="Read-only file system"):
            check_storage(sweep, sweep.num_runs)
        with pytest.raises(UserError, match="--home"):
            SweepFolder.create("other", SPACE, "tiny.yaml", home=disk)
        assert not sweep.is_running()
        assert len(read_records(sweep)) == 6


def test_there_is_room_on_an_ordinary_disk_and_the_probe_is_gone(tmp_path):
    sweep = make(tmp_path)
    before = sorted(sweep.folder.iterdir())
    check_storage(sweep, sweep.num_runs)
    assert sorted(sweep.folder.iterdir()) == before


def test_a_journal_that_another_process_has_locked_is_written_all_the_same(tmp_path):
    sweep = make(tmp_path)
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    with sweep.journal.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        holder = ["python3", "-c", HOLD, str(sweep.journal)]
        with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"locked\n"
            train_all(ledger)
            process.stdin.close()
    assert Ledger(sweep).is_complete


HOLD = """
import fcntl, sys
with open(sys.argv[1], "rb+") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


@NEEDS_ROOT
def test_a_file_system_that_stands_still_is_waited_for(tmp_path):
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 * 1024**2)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(tmp_path / "disk", "-o", "loop", str(image)) as disk, contextlib.ExitStack() as thaw:
        sweep = make(disk)
        ledger = Ledger(sweep)
        train(ledger, ledger.next_run())
        subprocess.run(["fsfreeze", "--freeze", str(disk)], check=True)
        thaw.callback(subprocess.run, ["fsfreeze", "--unfreeze", str(disk)], check=True)
        driver = threading.Thread(target=train_all, args=(ledger,))
        driver.start()
        driver.join(3)
        assert driver.is_alive()
        assert sum(record.state == "complete" for record in read_records(sweep)) == 1
        thaw.close()
        driver.join(60)
        assert not driver.is_alive()
        assert Ledger(sweep).is_complete
        check_goes_on(sweep, {})


def test_a_damaged_line_in_the_midst_of_the_journal_is_named(tmp_path):
    sweep = make(tmp_path)
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    lines = sweep.journal.read_bytes().splitlines(keepends=True)
    sweep.journal.write_bytes(b"".join([*lines[:3], b"\xff" + lines[3][1:], *lines[4:]]))
    for read in (read_records, Ledger):
        with pytest.raises(UserError, match=r"study\.journal is damaged"):
            read(sweep)


def test_every_json_file_says_its_format(tmp_path):
    sweep = make(tmp_path)
    with sweep.lock():
        files = sorted(tmp_path.rglob("*.json"))
        assert [path.name for path in files] == ["owner.json", "provenance.json", "sweep.json"]
        assert [json.loads(path.read_text())["format"] for path in files] == [1, 1, 3]


def test_a_sweep_of_a_later_release_names_it(tmp_path):
    sweep = make(tmp_path)
    meta = json.loads((sweep.folder / "sweep.json").read_text())
    (sweep.folder / "sweep.json").write_text(json.dumps({**meta, "format": 7, "release": "9.1.0"}))
    with pytest.raises(UserError, match=r"format 7; .* written by adversarial-tuner 9\.1\.0"):
        SweepFolder.open("tiny", home=tmp_path)
