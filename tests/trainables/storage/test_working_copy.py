"""A working copy has in its store what is written in it, and gets from there what others have written."""

import shutil

import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.errors import StorageError
from trainables.storage import checkpoint, working_copy
from trainables.storage.atomic import append_whole, whole_folder, write_whole
from trainables.storage.object_store import store_at
from trainables.worker.fencing import Attempt, FencedError
from trainables.worker.run_log import RunLog

NAMES = st.sampled_from(["space.yaml", "trials/0000/metrics.jsonl", "trials/0001/metrics.jsonl", "confirm/a/test.json"])
ACTIONS = st.lists(st.tuples(st.sampled_from(["write", "append", "pull"]), NAMES, st.binary(max_size=9)), max_size=15)


class Place:
    """A store in a folder, and copies of it as on several machines."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "store").mkdir()

    def copy(self, name):
        return working_copy.make(f"file://{self.folder}/store", self.folder / name)

    @property
    def content(self):
        return content_of(self.folder / "store")


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def content_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def sweep_in(home, name="sweep", identity="1"):
    with whole_folder(home / name, last="sweep.json") as folder:
        write_whole(folder / "sweep.json", f'{{"id": "{identity}"}}'.encode())
    return home / name


def test_a_folder_that_is_no_copy_is_a_folder(tmp_path):
    sweep = sweep_in(tmp_path)
    assert working_copy.root_of(sweep) is None
    assert working_copy.place_of(sweep) == str(sweep)
    assert working_copy.names(tmp_path) is None
    working_copy.pull(sweep)
    working_copy.fetch(sweep / "sweep.json")
    working_copy.fetch_folder(sweep)
    working_copy.remove(sweep)
    assert working_copy.read(sweep / "sweep.json") is None
    assert [path.name for path in tmp_path.rglob("*")] == ["sweep", "sweep.json"]


@settings(max_examples=25, deadline=None)
@given(actions=ACTIONS)
def test_what_one_machine_writes_another_one_has_after_a_pull(tmp_path_factory, actions):
    place = Place(tmp_path_factory.mktemp("places"))
    here, there = place.copy("here"), place.copy("there")
    sweep = sweep_in(here)
    for action, name, content in actions:
        path = sweep / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if action == "write":
            write_whole(path, content)
        elif action == "append":
            append_whole(path, content)
        else:
            working_copy.pull(there / "sweep")
        assert place.content == content_of(here)
    working_copy.pull(there / "sweep")
    assert content_of(there) == content_of(here)


def test_what_begins_with_a_dot_stays_here(place):
    sweep = sweep_in(place.copy("here"))
    write_whole(sweep / ".probe", b"")
    (sweep / ".staging").mkdir()
    write_whole(sweep / ".staging" / "file", b"")
    assert set(place.content) == {"sweep/sweep.json"}


def test_a_store_says_where_it_is_and_what_it_has(place):
    here = place.copy("here")
    sweep = sweep_in(here)
    (place.folder / "store" / "no-sweep").mkdir()
    assert working_copy.names(place.copy("there")) == ["sweep"]
    assert working_copy.place_of(sweep / "trials") == f"file://{place.folder}/store/sweep/trials"


def test_what_the_store_does_not_take_is_not_here_either(place):
    sweep = sweep_in(place.copy("here"))
    path = sweep / "file"
    write_whole(path, b"old\n")
    shutil.rmtree(place.folder / "store")
    (place.folder / "store").write_bytes(b"")  # in the way
    with pytest.raises(StorageError):
        append_whole(path, b"new\n")
    with pytest.raises(StorageError):
        write_whole(path, b"new\n")
    with pytest.raises(StorageError):
        sweep_in(place.folder / "here", "other")
    assert path.read_bytes() == b"old\n"
    assert not (place.folder / "here" / "other").exists()


def test_a_copy_that_is_driven_here_is_newer_than_the_store(place):
    here = place.copy("here")
    sweep = sweep_in(here)
    with working_copy.held(sweep):
        (sweep / "sweep.json").write_bytes(b"being written")
        working_copy.pull(sweep)
        assert (sweep / "sweep.json").read_bytes() == b"being written"
    working_copy.pull(sweep)
    assert (sweep / "sweep.json").read_bytes() == b'{"id": "1"}'


def test_a_driver_begins_with_what_another_one_has_left(place):
    sweep = sweep_in(place.copy("here"))
    again = place.copy("there") / "sweep"
    working_copy.pull(again)
    append_whole(sweep / "metrics.jsonl", b"row\n")
    with working_copy.held(again):
        assert (again / "metrics.jsonl").read_bytes() == b"row\n"


@pytest.mark.parametrize("identity", ["2", None])
def test_a_sweep_that_was_made_anew_or_removed_is_not_mixed_with_the_old_one(place, identity):
    sweep = sweep_in(place.copy("here"))
    write_whole(sweep / "confirm.json", b"of the old one")
    store_at(str(place.folder / "store")).remove("sweep")
    if identity:
        sweep_in(place.copy("there"), identity=identity)
    working_copy.pull(sweep)
    assert content_of(sweep) == ({"sweep.json": b'{"id": "2"}'} if identity else {})


def test_checkpoints_are_put_by_workers_and_fetched_when_they_are_wanted(place):
    sweep = sweep_in(place.copy("driver"))
    folders = {name: place.copy(name) / "sweep" / "trials" / "0000" / "checkpoint" for name in ("worker", "other")}
    attempt = Attempt(folders["worker"])
    attempt.begin()
    for step in (1, 2, 3):
        with attempt.writing() as staging:
            state = {"step": step, "weights": torch.full((2,), float(step))}
            checkpoint.save(folders["worker"], step, state, staging=staging)
    kept = {
        f"sweep/trials/0000/checkpoint/0000000{step}/{name}"
        for step in (2, 3)
        for name in ("state.json", "tensors.safetensors")
    }
    assert set(place.content) == kept | {"sweep/sweep.json", "sweep/trials/0000/attempt"}
    working_copy.pull(sweep)
    assert content_of(sweep) == {"sweep.json": b'{"id": "1"}'}
    assert checkpoint.load_newest(folders["other"])["weights"].tolist() == [3.0, 3.0]
    store_at(str(place.folder / "store")).remove("sweep/trials/0000/checkpoint/00000003/state.json")
    assert checkpoint.load_newest(folders["other"])["step"] == 2


def test_of_attempts_on_two_machines_the_later_one_writes(place):
    folders = [place.copy(name) / "sweep" / "trials" / "0000" / "checkpoint" for name in ("first", "second")]
    first, second = map(Attempt, folders)
    first.begin()
    second.begin()
    with pytest.raises(FencedError), first.writing() as staging:
        checkpoint.save(folders[0], 1, {"of": "first"}, staging=staging)
    with second.writing() as staging:
        checkpoint.save(folders[1], 1, {"of": "second"}, staging=staging)
    assert checkpoint.load_newest(folders[0]) == {"of": "second"}
    assert not first.is_latest()


def test_a_log_goes_on_where_another_machine_left_it(place):
    first, second = (RunLog(place.copy(name) / "sweep" / "trials" / "0000") for name in ("first", "second"))
    first.write("one\n")
    first.keep()
    second.fetch()
    second.write("two\n")
    second.keep()
    assert place.content == {"sweep/trials/0000/log.txt": b"one\ntwo\n"}


def test_two_who_look_at_once_do_not_wait_for_each_other(place):
    sweep = sweep_in(place.copy("here"))
    with FileLock(sweep.with_name(".sweep.copy")):
        working_copy.pull(sweep)
