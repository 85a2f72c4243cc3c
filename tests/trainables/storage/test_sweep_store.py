"""A working copy has in its store what is written in it, and gets from there what others have written."""

import pickle
import shutil

import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.errors import StorageError
from trainables.storage import checkpoint
from trainables.storage.object_store import Stamp, Store, store_at
from trainables.storage.sweep_store import SweepStore
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
        (self.folder / name).mkdir(exist_ok=True)
        return SweepStore(self.folder / name, f"file://{self.folder}/store")

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


def sweep_in(store, name="sweep", identity="1"):
    with store.whole_folder(store.root / name, last="sweep.json") as folder:
        (folder / "sweep.json").write_text(f'{{"id": "{identity}"}}')
    return store.root / name


def test_a_folder_that_is_no_copy_is_a_folder(tmp_path):
    store = SweepStore.of(tmp_path)
    sweep = sweep_in(store)
    assert store == SweepStore(tmp_path)
    assert store.location(sweep) == str(sweep)
    assert store.names() == ["sweep"]
    store.pull(sweep)
    store.fetch(sweep / "sweep.json")
    store.fetch_folder(sweep)
    store.remove_stored(sweep)
    assert store.read_stored(sweep / "sweep.json") is None
    assert [path.name for path in tmp_path.rglob("*")] == ["sweep", "sweep.json"]


def test_a_url_is_given_by_the_caller_alone(tmp_path):
    url = "s3://bucket/sweeps?region=eu"
    store = SweepStore(tmp_path, url)
    assert str(store) == store.location(tmp_path) == url
    assert store.location(tmp_path / "tiny" / "trials") == "s3://bucket/sweeps/tiny/trials?region=eu"
    assert store.location(tmp_path / ".data") == "s3://bucket/sweeps/data?region=eu"
    assert pickle.loads(pickle.dumps(store)) == SweepStore.of(store) == store
    (tmp_path / ".tuner-url").write_text(url)  # as earlier releases wrote it
    assert SweepStore.of(tmp_path) == SweepStore(tmp_path, None)


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
            here.write(path, content)
        elif action == "append":
            here.append(path, content)
        else:
            there.pull(there.root / "sweep")
        assert place.content == content_of(here.root)
    there.pull(there.root / "sweep")
    assert content_of(there.root) == content_of(here.root)


def test_what_begins_with_a_dot_stays_here(place):
    here = place.copy("here")
    sweep = sweep_in(here)
    here.write(sweep / ".probe", b"")
    (sweep / ".staging").mkdir()
    here.write(sweep / ".staging" / "file", b"")
    assert set(place.content) == {"sweep/sweep.json"}


def test_a_store_says_where_it_is_and_what_it_has(place):
    here = place.copy("here")
    sweep = sweep_in(here)
    (place.folder / "store" / "no-sweep").mkdir()
    assert place.copy("there").names() == ["sweep"]
    assert here.location(sweep / "trials") == f"file://{place.folder}/store/sweep/trials"


def test_what_the_store_does_not_take_is_not_here_either(place):
    here = place.copy("here")
    path = sweep_in(here) / "file"
    here.write(path, b"old\n")
    shutil.rmtree(place.folder / "store")
    (place.folder / "store").write_bytes(b"")  # in the way
    with pytest.raises(StorageError):
        here.append(path, b"new\n")
    with pytest.raises(StorageError):
        here.write(path, b"new\n")
    with pytest.raises(StorageError):
        sweep_in(here, "other")
    assert path.read_bytes() == b"old\n"
    assert not (here.root / "other").exists()


def test_a_copy_that_is_driven_here_is_newer_than_the_store(place):
    here = place.copy("here")
    sweep = sweep_in(here)
    with here.held(sweep):
        (sweep / "sweep.json").write_bytes(b"being written")
        here.pull(sweep)
        assert (sweep / "sweep.json").read_bytes() == b"being written"
    here.pull(sweep)
    assert (sweep / "sweep.json").read_bytes() == b'{"id": "1"}'


def test_a_driver_begins_with_what_another_one_has_left(place):
    here, there = place.copy("here"), place.copy("there")
    sweep, again = sweep_in(here), there.root / "sweep"
    there.pull(again)
    here.append(sweep / "metrics.jsonl", b"row\n")
    with there.held(again):
        assert (again / "metrics.jsonl").read_bytes() == b"row\n"


def moved_aside(store):
    return {name.partition("/")[2]: content for name, content in content_of(store.root).items() if name[0] == "."}


@pytest.mark.parametrize("identity", ["2", None])
def test_a_sweep_that_was_made_anew_or_removed_is_moved_aside_and_said(place, identity, caplog):
    here = place.copy("here")
    sweep = sweep_in(here)
    here.write(sweep / "confirm.json", b"of the old one")
    store_at(str(place.folder / "store")).remove("sweep")
    if identity:
        sweep_in(place.copy("there"), identity=identity)
    here.pull(sweep)
    assert content_of(sweep) == ({"sweep.json": b'{"id": "2"}'} if identity else {})
    assert moved_aside(here) == {"sweep/sweep.json": b'{"id": "1"}', "sweep/confirm.json": b"of the old one"}
    assert f"file://{place.folder}/store/sweep: removed from the object store" in caplog.text
    assert str(next(here.root.glob(".aside-*"))) in caplog.text
    assert here.names() == (["sweep"] if identity else [])


def test_a_store_that_was_emptied_takes_nothing_from_here(place, caplog):
    here = place.copy("here")
    sweep = sweep_in(here)
    for name in ("checkpoint/00000001/state.json", "metrics.jsonl"):
        path = sweep / "trials" / "0000" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        here.write(path, name.encode())
    before = content_of(here.root)
    shutil.rmtree(place.folder / "store" / "sweep")
    here.fetch(sweep / "trials" / "0000" / "metrics.jsonl")
    assert content_of(here.root) == before
    here.fetch_folder(sweep / "trials" / "0000" / "checkpoint")
    here.pull(sweep)
    assert moved_aside(here) == before
    with pytest.raises(StorageError, match="is not there any more"), here.held(sweep):
        pass
    assert moved_aside(here) == before
    assert caplog.text.count("was moved to") == 2


def test_a_file_of_the_store_that_would_lie_elsewhere_here_is_refused(place, monkeypatch):
    """The names in an object store are any text, those of a folder are not."""
    here, there = place.copy("here"), place.copy("there")
    sweep = sweep_in(there)
    files = Store.files
    for evil in ("../../evil", "a/../../evil", "/evil"):
        evil_too = {evil: Stamp(1, 1)}
        monkeypatch.setattr(Store, "files", lambda self, folder="", extra=evil_too: {**files(self, folder), **extra})
        with pytest.raises(StorageError, match="would lie outside of"):
            here.pull(here.root / sweep.name)
    assert content_of(here.root) == {}


@pytest.mark.parametrize("has_url", [True, False])
def test_a_request_is_taken_once_and_is_the_newest(tmp_path, has_url):
    place = Place(tmp_path)
    here = place.copy("here")
    there = place.copy("there") if has_url else SweepStore(here.root)
    store = here if has_url else there
    path = sweep_in(store) / "request.json"
    assert store.take(path) is store.read(path) is None
    (there.root / "sweep").mkdir(exist_ok=True)
    there.write(there.root / "sweep" / "request.json", b"request")
    assert store.read(path) == b"request"
    assert store.take(path) == b"request"
    assert store.take(path) is store.read(path) is None
    assert there.read(there.root / "sweep" / "request.json") is None


def run_in(store):
    return store.root / "sweep" / "trials" / "0000"


def test_checkpoints_are_put_by_workers_and_fetched_when_they_are_wanted(place):
    driver, worker, other = map(place.copy, ("driver", "worker", "other"))
    sweep = sweep_in(driver)
    folder, elsewhere = run_in(worker) / "checkpoint", run_in(other) / "checkpoint"
    attempt = Attempt(folder, worker)
    attempt.begin()
    for step in (1, 2, 3):
        with attempt.writing() as staging:
            state = {"step": step, "weights": torch.full((2,), float(step))}
            checkpoint.save(folder, step, state, staging=staging, store=worker)
    kept = {
        f"sweep/trials/0000/checkpoint/0000000{step}/{name}"
        for step in (2, 3)
        for name in ("state.json", "tensors.safetensors")
    }
    assert set(place.content) == kept | {"sweep/sweep.json", "sweep/trials/0000/attempt"}
    driver.pull(sweep)
    assert content_of(sweep) == {"sweep.json": b'{"id": "1"}'}
    other.fetch_folder(elsewhere)
    assert checkpoint.load_newest(elsewhere)["weights"].tolist() == [3.0, 3.0]
    name = "sweep/trials/0000/checkpoint/00000003/state.json"
    content = place.content[name]
    store_at(str(place.folder / "store")).remove(name)
    other.fetch_folder(elsewhere)
    assert checkpoint.load_newest(elsewhere)["step"] == 2
    assert moved_aside(other) == {name: content}


def test_of_attempts_on_two_machines_the_later_one_writes(place):
    stores = [place.copy(name) for name in ("first", "second")]
    folders = [run_in(store) / "checkpoint" for store in stores]
    first, second = map(Attempt, folders, stores)
    first.begin()
    second.begin()
    with pytest.raises(FencedError), first.writing() as staging:
        checkpoint.save(folders[0], 1, {"of": "first"}, staging=staging, store=stores[0])
    with second.writing() as staging:
        checkpoint.save(folders[1], 1, {"of": "second"}, staging=staging, store=stores[1])
    stores[0].fetch_folder(folders[0])
    assert checkpoint.load_newest(folders[0]) == {"of": "second"}
    assert not first.is_latest()


def test_a_log_goes_on_where_another_machine_left_it(place):
    stores = [place.copy(name) for name in ("first", "second")]
    first, second = (RunLog(run_in(store), store) for store in stores)
    first.write("one\n")
    first.keep()
    second.fetch()
    second.write("two\n")
    second.keep()
    assert place.content == {"sweep/trials/0000/log.txt": b"one\ntwo\n"}


def test_two_who_look_at_once_do_not_wait_for_each_other(place):
    here = place.copy("here")
    sweep = sweep_in(here)
    with FileLock(sweep.with_name(".sweep.copy")):
        here.pull(sweep)
