"""Sweep folders: made whole or not at all, found again, one driver at a time."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import re
import shutil
import socket
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

import tuner
from search_spaces.configurations import parse_space
from search_spaces.errors import SpaceError
from tests.tuner.conftest import SPACE
from trainables.storage import object_store
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import NAME, check_available, home, names


def test_what_is_made_is_found_again(make_sweep):
    sweep = make_sweep(num_trials=9)
    assert SweepFolder.open("tiny", home=sweep.folder.parent) == sweep
    assert names(sweep.folder.parent) == ["tiny"]
    assert (sweep.folder / "space.yaml").read_text() == SPACE
    provenance = json.loads((sweep.folder / "provenance.json").read_text())
    assert set(provenance["versions"]) >= {"python", "torch", "ray", "optuna", "mlflow"}
    assert len(provenance["dataset"]["sha256"]) == 64


def test_a_name_is_taken_once(make_sweep):
    make_sweep()
    with pytest.raises(UserError, match="tuner resume tiny"):
        make_sweep()


def test_a_home_that_it_makes_is_closed_to_other_users_and_one_that_is_there_stays_as_it_is(tmp_path):
    before = os.umask(0)
    try:
        SweepFolder.create("tiny", SPACE, "tiny.yaml", home=tmp_path / "a/new")
    finally:
        os.umask(before)
    assert (tmp_path / "a/new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "a/new").chmod(0o750)  # shared with a group, on purpose
    SweepFolder.create("other", SPACE, "tiny.yaml", home=tmp_path / "a/new")
    assert (tmp_path / "a/new").stat().st_mode & 0o777 == 0o750


@given(st.text(max_size=400) | st.text(alphabet="ab./_-\n:", max_size=6))
def test_names_are_of_one_pattern(name):
    if NAME.fullmatch(name):
        assert Path(name).name == name
        assert "\n" not in name
        assert parse_space(SPACE.replace("name: tiny", f"name: '{name}'"), "tiny.yaml").name == name
        return
    with pytest.raises(UserError, match="must be 1 to 63"):
        check_available(name, Path("/nowhere"))
    with pytest.raises(UserError, match="must be 1 to 63"):
        SweepFolder.open(name, home=Path("/nowhere"))
    with pytest.raises(SpaceError):
        parse_space(SPACE.replace("name: tiny", f"name: {json.dumps(name)}"), "tiny.yaml")


@pytest.mark.parametrize("name", ["../up", "a/b", "a:b", "a\n", "", "A", ".a", "x" * 300])
def test_bad_names_are_refused(name, tmp_path):
    with pytest.raises(UserError):
        SweepFolder.create(name, SPACE, "tiny.yaml", home=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_space_leaves_nothing(tmp_path):
    with pytest.raises(SpaceError):
        SweepFolder.create("tiny", SPACE + "unknown: 1\n", "tiny.yaml", home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_home_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--home"):
        check_available("tiny", tmp_path / "file" / "home")


def test_opening_what_is_not_there_names_what_is(make_sweep):
    sweep = make_sweep()
    with pytest.raises(UserError, match="there: tiny"):
        SweepFolder.open("tinny", home=sweep.folder.parent)


def test_a_later_format_is_refused(make_sweep):
    sweep = make_sweep()
    meta = json.loads((sweep.folder / "sweep.json").read_text())
    (sweep.folder / "sweep.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        SweepFolder.open("tiny", home=sweep.folder.parent)


def _hold(folder: Path, ready, done) -> None:
    with SweepFolder.open("tiny", home=folder).lock():
        ready.set()
        done.wait(60)


def test_a_second_driver_is_refused_by_name_even_if_the_lock_file_is_removed(make_sweep):
    sweep = make_sweep()
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(sweep.folder.parent, ready, done))
    other.start()
    assert ready.wait(60)
    assert sweep.is_running()
    with pytest.raises(UserError, match=f"process {other.pid}"), sweep.lock():
        pass
    (sweep.folder / ".lock").unlink()
    assert sweep.is_running()
    with pytest.raises(UserError, match=f"process {other.pid}"), sweep.lock():
        pass
    done.set()
    other.join(60)
    assert not sweep.is_running()


def test_looks_at_the_lock_disturb_neither_each_other_nor_a_driver_that_starts(make_sweep):
    sweep = make_sweep()
    with sweep.lock():
        pass
    files = [(sweep.folder / name).open("rb") for name in (".lock", "study.journal")]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_SH)  # somebody looks right now
    assert not sweep.is_running()
    end_of_look = threading.Timer(0.2, lambda: [file.close() for file in files])
    end_of_look.start()
    with sweep.lock():
        assert sweep.is_running()
    end_of_look.join()


def test_a_look_at_a_sweep_that_has_not_started_leaves_nothing_behind(make_sweep):
    sweep = make_sweep()
    before = sorted(sweep.folder.iterdir())
    assert not sweep.is_running()
    assert sorted(sweep.folder.iterdir()) == before


def test_a_driver_of_an_earlier_release_which_locks_another_file_is_seen(make_sweep):
    sweep = make_sweep()
    with FileLock(sweep.folder / ".lock"):
        assert sweep.is_running()
        with pytest.raises(UserError, match="is being run by process"), sweep.lock():
            pass


def test_the_folder_of_a_sweep_that_is_gone_is_not_made_anew_by_its_lock(make_sweep):
    sweep = make_sweep()
    shutil.rmtree(sweep.folder)
    with pytest.raises(UserError, match="not there any more"), sweep.lock():
        pass
    assert not sweep.is_running()
    assert not sweep.folder.exists()


def test_home_follows_argument_then_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNER_HOME", raising=False)
    assert home() == SweepStore(tmp_path / "sweeps")
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "other"))
    assert home().root == tmp_path / "other"
    assert home(tmp_path / "given").root == tmp_path / "given"


def test_how_many_runs_may_be_at_work_is_kept_until_another_number_is_given(make_sweep, tmp_path):
    sweep = make_sweep()
    assert SweepFolder.open("tiny", home=tmp_path).max_concurrent is None
    sweep.extended(max_concurrent=3)
    assert SweepFolder.open("tiny", home=tmp_path).max_concurrent == 3
    SweepFolder.open("tiny", home=tmp_path).extended(num_trials=9)
    again = SweepFolder.open("tiny", home=tmp_path)
    assert (again.max_concurrent, again.num_trials) == (3, 9)


def test_a_file_that_names_a_store_changes_nothing_wherever_it_lies(run, make_sweep, tmp_path):
    """Whoever can write one file must not have a sweep removed, or sent elsewhere, by a command that looks at it."""
    sweep = make_sweep()
    (tmp_path / "store").mkdir()
    for folder in (tmp_path, sweep.folder, sweep.folder / "trials"):
        folder.mkdir(exist_ok=True)
        for name in (".tuner-url", "tuner-url", ".url"):
            (folder / name).write_text(f"file://{tmp_path}/store")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command in (["status"], ["status", "tiny"]):
        code, output = run(*command, "--home", str(tmp_path))
        assert (code, "tiny" in output) == (0, True), output
    with SweepFolder.open("tiny", home=home(tmp_path)).lock():
        pass
    assert {path: content for path in before if (content := path.read_bytes()) == before[path]} == before
    assert SweepFolder.open("tiny", home=home(tmp_path)).place == str(tmp_path / "tiny")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_working_copy_lies_in_the_cache_and_is_one_where_its_url_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    url = f"mock://{tmp_path}/sweeps"
    monkeypatch.setattr("tuner.sweep.homes.check_url", Mock())
    where = home(url)
    assert (where.root.parent, where.url) == (tmp_path / "cache" / "sweeps", url)
    assert home(url) == home(f"MOCK://{tmp_path}/sweeps") == where
    with pytest.raises(UserError, match="cannot keep a study"):
        check_available("tiny", where)
    assert home(where.root).url is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a%20b/%C3%A9", "/a b/\u00e9"),
        ("FILE:///a", "/a"),
        ("file://localhost/a+b", "/a+b"),
        ("file:///50%25", "/50%"),
    ],
)
def test_a_file_url_is_decoded(url, path):
    assert home(url) == SweepStore(Path(path))


@pytest.mark.parametrize(
    "url",
    [
        *("file://host/a", "file:///a?b=c", "file:///a#b", "file://", "file:///a%00b", "file:/a", "s3:/bucket/x"),
        *(
            "simplecache::s3://bucket/x",
            "https://[::1",
            "memory://x",
            "http://host/x",
            "zip://a.zip",
            "hdfs://h/x",
            "dir://x",
        ),
    ],
)
def test_a_url_of_no_store_is_refused_in_words(url, run, tmp_path):
    code, output = run("status", "--home", url)
    assert code == 2, output
    assert output.startswith("error: ")
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_does_not_answer_is_given_up_soon_and_nothing_waits_for_it_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(object_store, "_CHECK_S", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for url in ("s3://bucket/{}endpoint_override={}&scheme=http&region=eu", "gs://bucket/{}endpoint_override={}"):
            where = url.format("x?", f"127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(UserError, match=r"has not answered in 1.5 s: .*choose another --storage"):
                home(where)
    with pytest.raises(UserError, match="--home"):
        home(Path("s3://bucket/x"))


def test_what_is_written_past_the_store_of_a_sweep_is_listed():
    """Any other module has to write through `SweepFolder.store`, or the object store would not have it."""
    root = Path(tuner.__file__).parent
    past = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"from trainables\.storage\.atomic import [^\n]*(write_|append_|whole_)", path.read_text())
    }
    assert past == {
        "execution/upkeep/copying.py",  # files of a new sweep, which its store gets as a folder
        "cli/output.py",  # a file of the user's choice
        "cluster/payload.py",  # what a cluster sends to this machine
        "execution/preflight.py",  # a probe of the disk
        "execution/single.py",  # a folder of the user's choice, and so for the next four
        "results/bundles/export.py",
        "results/frames.py",
        "results/pictures/draw.py",
        "results/report/page.py",
        "storage/journal.py",  # a study in a file, which no object store keeps
        "sweep/folder.py",  # files of a new sweep, which its store gets as a folder
    }
