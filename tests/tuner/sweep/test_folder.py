"""Sweep folders: made whole or not at all, found again, one driver at a time."""

from __future__ import annotations

import json
import multiprocessing
import re
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuner
from search_spaces.configurations import parse_space
from search_spaces.errors import SpaceError
from tests.tuner.conftest import SPACE
from tuner.errors import UserError
from tuner.sweep.folder import NAME, SweepFolder, check_available, home, names


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
        done.wait(30)


def test_a_second_driver_is_refused_by_name(make_sweep):
    sweep = make_sweep()
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(sweep.folder.parent, ready, done))
    other.start()
    assert ready.wait(30)
    assert sweep.is_running()
    with pytest.raises(UserError, match=f"process {other.pid}"), sweep.lock():
        pass
    done.set()
    other.join(30)
    assert not sweep.is_running()


def test_home_follows_argument_then_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNER_HOME", raising=False)
    assert home() == tmp_path / "sweeps"
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "other"))
    assert home() == tmp_path / "other"
    assert home(tmp_path / "given") == tmp_path / "given"


def test_how_many_runs_may_be_at_work_is_kept_until_another_number_is_given(make_sweep, tmp_path):
    sweep = make_sweep()
    assert SweepFolder.open("tiny", home=tmp_path).max_concurrent is None
    sweep.extended(max_concurrent=3)
    assert SweepFolder.open("tiny", home=tmp_path).max_concurrent == 3
    SweepFolder.open("tiny", home=tmp_path).extended(num_trials=9)
    again = SweepFolder.open("tiny", home=tmp_path)
    assert (again.max_concurrent, again.num_trials) == (3, 9)


def test_a_mark_of_a_working_copy_in_a_folder_around_the_sweeps_changes_nothing(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / ".tuner-url").write_text(f"file://{tmp_path}/store")
    where = home(tmp_path / "sweeps")
    sweep = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=where)
    with sweep.lock():
        sweep.extended(num_trials=9)
    assert SweepFolder.open("tiny", home=where).num_trials == 9
    assert sweep.place == str(where / "tiny")
    assert names(where) == ["tiny"]
    assert list((tmp_path / "store").iterdir()) == []


def test_a_working_copy_made_by_an_earlier_release_is_opened_by_its_folder_or_its_url(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    url = f"mock://{tmp_path}/sweeps"
    monkeypatch.setattr("tuner.sweep.folder.store_at", lambda url: Mock())
    where = home(url)
    assert where.parent == tmp_path / "cache" / "sweeps"
    assert (where / ".tuner-url").read_text() == url
    with pytest.raises(UserError, match="cannot keep a study"):
        check_available("tiny", where)
    assert home(where) == where


def test_what_is_written_past_the_store_of_a_sweep_is_listed():
    """Any other module has to write through `SweepFolder.store`, or the object store would not have it."""
    root = Path(tuner.__file__).parent
    past = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"from trainables\.storage\.atomic import [^\n]*(write_|append_|whole_)", path.read_text())
    }
    assert past == {
        "execution/preflight.py",  # a probe of the disk
        "execution/single.py",  # a folder of the user's choice, and so for the next three
        "results/draw.py",
        "results/export.py",
        "results/frames.py",
        "storage/journal.py",  # a study in a file, which no object store keeps
        "sweep/folder.py",  # files of a new sweep, which its store gets as a folder
    }
