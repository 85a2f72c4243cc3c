"""Copies of a sweep: one that other tools made is noticed, one that `tuner copy` made is a sweep of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from tests.tuner.conftest import SPACE, train_all
from tests.tuner.sweep import test_snapshot
from tuner.errors import UserError
from tuner.execution.launch import prepare_resume
from tuner.execution.upkeep import copying
from tuner.execution.upkeep.copying import copy_sweep
from tuner.results.bundles.export import export_run
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.snapshot import read_snapshot

confirmed = test_snapshot.confirmed
QUIET = Console(quiet=True)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def opened(folder: Path) -> SweepFolder:
    return SweepFolder.open(folder.name, home=folder.parent)


def refuses(folder: Path) -> bool:
    """Return whether a driver refuses a folder as a copy, in words."""
    try:
        with opened(folder).lock():
            return False
    except UserError as error:
        return "hold the same sweep" in str(error) and f"`tuner copy {folder.name} NEW`" in str(error)


COPIES = {
    "beside": (["cp", "-r"], "copied"),
    "with its times": (["cp", "-a"], "copied"),
    "of links": (["cp", "-al"], "copied"),
    "in another home": (["cp", "-r"], "home2/tiny"),
}


@pytest.mark.parametrize(("command", "target"), COPIES.values(), ids=COPIES)
def test_a_copied_folder_is_refused_by_whatever_writes_and_the_original_goes_on(
    make_sweep, run, tmp_path, command, target
):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    train_all(ledger)
    folder = tmp_path / target
    folder.parent.mkdir(exist_ok=True)
    subprocess.run([*command, str(sweep.folder), str(folder)], check=True)
    before = content(sweep.folder)
    for line in (["resume"], ["resume", "--trials", "9"], ["sync"], ["evaluate"]):
        code, output = run(line[0], folder.name, *line[1:], "--home", str(folder.parent))
        assert (code, f"`tuner copy {folder.name} NEW`" in output) == (2, True), output
    assert {**content(sweep.folder), ".lock": b""} == {**before, ".lock": b""}
    assert read_snapshot(opened(folder)).state == "completed"
    assert not refuses(sweep.folder)


def test_a_copy_that_is_made_while_a_driver_runs_is_refused(make_sweep, tmp_path):
    sweep = make_sweep()
    with sweep.lock():
        shutil.copytree(sweep.folder, tmp_path / "copied")
        assert not opened(tmp_path / "copied").is_running()
        assert refuses(tmp_path / "copied")
    assert refuses(tmp_path / "copied")


def test_a_renamed_moved_or_restored_sweep_goes_on(make_sweep, tmp_path):
    sweep = make_sweep()
    folder = sweep.folder.rename(tmp_path / "renamed")
    assert not refuses(folder)
    prepare_resume(opened(folder), QUIET)
    assert opened(folder).location.place == str(folder)
    (tmp_path / "home2").mkdir()
    folder = folder.rename(tmp_path / "home2" / "renamed")
    assert not refuses(folder)
    prepare_resume(opened(folder), QUIET)
    backup = tmp_path / "backup.tar"
    subprocess.run(["tar", "-C", str(folder.parent), "-cf", str(backup), folder.name], check=True)
    shutil.rmtree(folder)
    subprocess.run(["tar", "-C", str(folder.parent), "-xf", str(backup)], check=True)
    assert not refuses(folder)
    subprocess.run(["tar", "-C", str(tmp_path), "-xf", str(backup)], check=True)
    assert refuses(tmp_path / "renamed")


def test_the_same_folder_by_two_paths_is_no_copy(make_sweep, tmp_path):
    sweep = make_sweep()
    (tmp_path / "mounted").symlink_to(tmp_path, target_is_directory=True)
    folder = tmp_path / "mounted" / "tiny"
    assert not refuses(folder)
    prepare_resume(opened(folder), QUIET)
    assert not refuses(sweep.folder)
    assert not refuses(folder)


def test_a_folder_that_was_brought_from_another_machine_says_so_once(make_sweep, monkeypatch, tmp_path, capsys):
    make_sweep()
    shutil.copytree(tmp_path / "tiny", tmp_path / "elsewhere" / "tiny")
    shutil.rmtree(tmp_path / "tiny")
    for host, is_said in (("this", False), ("another", True), ("another", False)):
        folder = tmp_path / "elsewhere" / "tiny"
        if host == "another":
            monkeypatch.setattr("socket.gethostname", lambda: "another")
        prepare_resume(opened(folder), Console(width=300))
        assert ("was last driven in" in capsys.readouterr().out) == is_said
        shutil.copytree(folder, tmp_path / "again")
        shutil.rmtree(folder)
        (tmp_path / "again").rename(folder)


def test_another_sweep_that_has_taken_the_name_is_no_copy(make_sweep, tmp_path):
    sweep = make_sweep()
    folder = sweep.folder.rename(tmp_path / "renamed")
    assert not refuses(make_sweep().folder)
    assert not refuses(folder)


def test_of_a_sweep_that_was_renamed_and_copied_back_none_goes_on_until_one_is_gone(make_sweep, tmp_path):
    sweep = make_sweep()
    folder = sweep.folder.rename(tmp_path / "renamed")
    shutil.copytree(folder, sweep.folder)
    assert refuses(folder)
    assert refuses(sweep.folder)
    shutil.rmtree(folder)
    assert not refuses(sweep.folder)


def test_two_folders_of_one_sweep_of_an_earlier_release_are_noticed_in_one_home(make_sweep, tmp_path):
    sweep = make_sweep()
    path = sweep.folder / "sweep.json"
    meta = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("sha256", "location")}
    path.write_text(json.dumps({**meta, "format": 1}))
    shutil.copytree(sweep.folder, tmp_path / "copied")
    assert refuses(tmp_path / "copied")
    assert refuses(sweep.folder)


def test_a_place_that_is_named_but_cannot_be_read_is_no_copy(make_sweep, tmp_path):
    sweep = make_sweep()
    path = sweep.folder / "sweep.json"
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "sweep.json")
    for place in ("/dev/null", "s3://bucket/tiny", "relative", "/proc/self/mem", str(tmp_path / "pipe")):
        meta = {key: value for key, value in json.loads(path.read_text()).items() if key != "sha256"}
        path.write_text(json.dumps({**meta, "location": {"place": place, "inode": None}}))
        assert not refuses(sweep.folder)


def test_a_copy_is_a_sweep_of_its_own_and_the_original_stays_byte_for_byte(confirmed, run, tmp_path):
    with confirmed.lock():
        pass
    before = content(confirmed.folder)
    shown = run("compare", "tiny", "--home", str(tmp_path), "--format", "csv")[1]
    assert "new in" in run("copy", "tiny", "new", "--home", str(tmp_path))[1]
    copy = SweepFolder.open("new", home=tmp_path)
    assert copy.id != confirmed.id
    assert content(confirmed.folder) == before
    for path, file in content(copy.folder).items():
        assert (confirmed.id.encode() in file) == (path == "provenance.json"), path
    assert json.loads((copy.folder / "provenance.json").read_text())["copied_from"][0]["sweep_id"] == confirmed.id
    assert run("compare", "new", "--home", str(tmp_path), "--format", "csv")[1] == shown
    assert read_snapshot(copy).confirmation.sweep_id == copy.id
    with prepare_resume(copy, QUIET, trials=6).lock():
        assert train_all(Ledger(SweepFolder.open("new", home=tmp_path))) == ["trial-0004", "trial-0005"]
    assert len(read_records(copy)) == 8
    assert content(confirmed.folder) == before
    assert not refuses(confirmed.folder)


def test_weights_of_a_copy_are_exported_as_those_of_the_original(trained_sweep, tmp_path):
    copy = copy_sweep(trained_sweep, "new")
    bundles = [export_run(read_snapshot(sweep), tmp_path / f"bundle-{sweep.name}") for sweep in (trained_sweep, copy)]
    assert (bundles[0] / "metrics.json").read_bytes() == (bundles[1] / "metrics.json").read_bytes()
    weights = [content(bundle) for bundle in bundles]
    differing = {name for name in weights[0] if weights[0][name] != weights[1][name]}
    assert differing <= {"provenance.json", "model_card.md", "checksums.json"}  # which holds digests of the others


def test_a_copy_that_other_tools_made_becomes_a_sweep_of_its_own(make_sweep, tmp_path):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    shutil.copytree(sweep.folder, tmp_path / "copied")
    copy = copy_sweep(opened(tmp_path / "copied"), "new")
    assert not refuses(copy.folder)
    assert len(read_records(copy)) == 6


def test_a_copy_of_a_sweep_that_has_not_started_leaves_it_as_it_is(make_sweep):
    sweep = make_sweep()
    before = content(sweep.folder)
    copy = copy_sweep(sweep, "new")
    assert {**content(sweep.folder), ".lock": b""} == {**before, ".lock": b""}
    assert train_all(Ledger(copy))[0] == "baseline-standard"


def test_what_cannot_be_copied_is_refused_and_leaves_nothing(make_sweep, tmp_path, run):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    SweepFolder.create("other", SPACE, "tiny.yaml", home=tmp_path)
    before = sorted(tmp_path.iterdir())
    for name, words in (("other", "already"), ("../up", "must be 1 to 63"), ("tiny", "already")):
        code, output = run("copy", "tiny", name, "--home", str(tmp_path))
        assert (code, words in output) == (2, True), output
    assert run("copy", "nothing", "new", "--home", str(tmp_path))[0] == 2
    with sweep.lock():
        code, output = run("copy", "tiny", "new", "--home", str(tmp_path))
        assert (code, "is being run by process" in output) == (2, True)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["study.journal", "trials/0001/metrics.jsonl", "provenance.json"])
def test_a_damaged_sweep_is_not_copied(make_sweep, tmp_path, name):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    path = sweep.folder / name
    content = path.read_bytes()
    path.write_bytes(b"{" + content)
    with pytest.raises(UserError, match="is damaged"):
        copy_sweep(sweep, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_sweep_with_damaged_weights_is_not_copied(trained_sweep, tmp_path):
    path = next(trained_sweep.folder.glob("trials/0000/checkpoint/*/tensors.safetensors"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"tensors\.safetensors is damaged"):
        copy_sweep(trained_sweep, "new")
    path.unlink()
    with pytest.raises(UserError, match="nothing was made"):
        copy_sweep(trained_sweep, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["real"]


@pytest.mark.parametrize("name", ["log.txt", "a.json", "a.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero"])
def test_what_is_no_file_is_not_copied(make_sweep, tmp_path, name, kind):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    path = sweep.folder / "trials" / "0001" / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(kind)
    with pytest.raises(UserError, match="not a regular file"):
        copy_sweep(sweep, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_copy_that_cannot_be_finished_is_none(make_sweep, tmp_path, monkeypatch):
    sweep = make_sweep()
    train_all(Ledger(sweep))

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copying, "_copy_study", fail)
    with pytest.raises(UserError, match="No space left on device; nothing was made"):
        copy_sweep(sweep, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
