"""Whoever begins a later attempt at a run takes from the earlier ones what they need to write."""

import errno

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.errors import StorageError
from trainables.storage import checkpoint
from trainables.storage.folder_guard import FolderGuard
from trainables.storage.sweep_store import SweepStore
from trainables.worker.fencing import Attempt, FencedError


def begun(folder):
    attempt = Attempt(folder, SweepStore(folder))
    attempt.begin()
    return attempt


def save(attempt, folder, step, value):
    with attempt.writing() as staging:
        checkpoint.save(folder, step, {"step": step, "value": torch.tensor(value)}, staging=staging)


def newest(folder):
    state = checkpoint.load_newest(folder)
    return state and (state["step"], state["value"].item())


def test_an_attempt_does_nothing_until_it_begins(tmp_path):
    attempt = Attempt(tmp_path / "checkpoint", SweepStore(tmp_path))
    assert not attempt.is_latest()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FencedError):
        save(attempt, tmp_path / "checkpoint", 1, 1.0)


def test_only_the_latest_attempt_writes(tmp_path):
    first = begun(tmp_path)
    save(first, tmp_path, 1, 1.0)
    second = begun(tmp_path)
    assert (first.is_latest(), second.is_latest()) == (False, True)
    with pytest.raises(FencedError, match="a later attempt has begun"):
        save(first, tmp_path, 2, 1.0)
    assert newest(tmp_path) == (1, 1.0)
    save(second, tmp_path, 1, 2.0)
    assert newest(tmp_path) == (1, 2.0)


@pytest.mark.parametrize("moment", ["before the tensors", "after the tensors", "before the rename"])
@pytest.mark.parametrize("step", [1, 2])
def test_an_attempt_that_is_overtaken_while_it_writes_puts_nothing_in_place(tmp_path, monkeypatch, moment, step):
    """Its worker stood still in the midst of a save, for as long as the later attempt took."""
    first = begun(tmp_path)
    save(first, tmp_path, 1, 1.0)
    overtaken = []

    def overtake():
        if not overtaken:
            overtaken.append(begun(tmp_path))

    if moment == "before the rename":
        rename = checkpoint.Path.rename

        def renamed(path, target):
            if path.name == f"{step:08d}" and path.parent.name.startswith(".attempt"):
                overtake()
            return rename(path, target)

        monkeypatch.setattr(checkpoint.Path, "rename", renamed)
    else:
        write, name = checkpoint.write_whole, "tensors" if moment == "before the tensors" else "state"

        def written(path, content):
            if path.name.startswith(name):
                overtake()
            write(path, content)

        monkeypatch.setattr(checkpoint, "write_whole", written)
    with pytest.raises(FencedError):
        save(first, tmp_path, step, 7.0)
    monkeypatch.undo()
    assert overtaken
    assert newest(tmp_path) in ((1, 1.0), None)
    save(overtaken[0], tmp_path, 2, 2.0)
    assert newest(tmp_path) == (2, 2.0)
    assert [path.name for path in tmp_path.glob(".*")] == [path.name for path in tmp_path.glob(".attempt-*")]


@settings(max_examples=25, deadline=None)
@given(turns=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["begin", "save"])), max_size=12))
def test_what_lies_there_is_always_of_the_latest_attempt_that_saved(tmp_path_factory, turns):
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    workers, latest, step, expected = {}, None, 0, None
    for worker, action in turns:
        if action == "begin":
            workers[worker], latest = begun(folder), worker
        elif worker in workers:
            step += 1
            if worker == latest:
                save(workers[worker], folder, step, worker)
                expected = (step, worker)
            else:
                with pytest.raises(FencedError):
                    save(workers[worker], folder, step, worker)
        assert newest(folder) == expected


def test_a_full_disk_is_no_later_attempt(tmp_path):
    attempt = begun(tmp_path)
    with pytest.raises(OSError, match="No space") as error, attempt.writing():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not isinstance(error.value, FencedError)


def test_what_a_killed_attempt_has_left_goes_with_the_next(tmp_path):
    (tmp_path / ".00000003.4711").mkdir()
    (tmp_path / ".attempt-old" / "00000003").mkdir(parents=True)
    begun(tmp_path).end()
    assert list(tmp_path.iterdir()) == []


def sweep_with_run(home):
    sweep = home / "tiny"
    sweep.mkdir()
    (sweep / "sweep.json").write_text('{"id": "one"}')
    return sweep, sweep / "trials" / "0000" / "checkpoint"


def test_an_attempt_makes_the_folder_of_its_run_but_not_that_of_the_sweep(tmp_path):
    sweep, checkpoints = sweep_with_run(tmp_path)
    attempt = Attempt(checkpoints, SweepStore(tmp_path))
    attempt.begin(FolderGuard(sweep, "one"))
    assert attempt.is_latest()
    guard = FolderGuard(sweep, "one")
    sweep.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="renamed, removed or replaced"):
        Attempt(checkpoints, SweepStore(tmp_path)).begin(guard)
    with pytest.raises(StorageError, match="renamed, removed or replaced"):
        FolderGuard(sweep, "one")
    assert not sweep.exists()


def test_an_attempt_at_a_run_of_another_sweep_of_the_same_name_does_not_begin(tmp_path):
    sweep, _ = sweep_with_run(tmp_path)
    with pytest.raises(StorageError, match="renamed, removed or replaced"):
        FolderGuard(sweep, "another")


def test_a_checkpoint_is_not_written_where_the_folder_was(tmp_path):
    sweep, checkpoints = sweep_with_run(tmp_path)
    attempt = Attempt(checkpoints, SweepStore(tmp_path))
    attempt.begin(FolderGuard(sweep, "one"))
    save(attempt, checkpoints, 1, 1.0)
    sweep.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="renamed or removed while"):
        save(attempt, checkpoints, 2, 2.0)
    assert not sweep.exists()
    assert newest(tmp_path / "elsewhere" / "trials" / "0000" / "checkpoint") == (1, 1.0)
