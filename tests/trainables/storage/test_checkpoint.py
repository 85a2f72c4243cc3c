"""Checkpoints: what goes in comes out, the newest two are kept, and damage costs one report at most."""

import hashlib
import json
import math
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainables.errors import CheckpointError
from trainables.storage import checkpoint
from trainables.storage.checkpoint import RunCheckpoint, load_newest, save
from trainables.storage.run_identity import RunIdentity, settings_digest

FILES = ["state.json", "tensors.safetensors"]


def is_same(one, other):
    """Whether two nested states are equal, types and dtypes included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other


def state_of(step):
    return {"step": step, "loss": 0.1 + step, "weights": {"bias": torch.arange(5.0) + step}, "text": "abc"}


def steps_in(folder):
    return sorted(path.name for path in folder.iterdir())


class TestRoundTrip:
    @pytest.mark.parametrize(
        "state",
        [
            {},
            {"none": None, "true": True, "int": 2**62, "float": 0.1 + 0.2, "text": "ä$/", "empty": [], "nothing": {}},
            {"infinite": [math.inf, -math.inf]},
            {"state": {0: {"step": torch.tensor(3.0)}, 1: {}}, "groups": [{"params": [0, 1], "betas": [0.9, 0.999]}]},
            {7: {True: "bool key", None: "no key"}},
            {"a/b": torch.ones(1), "a": {"b": torch.zeros(1)}},
            {"lists": [[torch.ones(2)], [], [torch.zeros(2), 1]]},
        ],
        ids=["empty", "plain", "infinite", "optimizer", "odd keys", "slashes", "lists"],
    )
    def test_nested_states(self, tmp_path, state):
        save(tmp_path, 1, state)
        assert is_same(load_newest(tmp_path), state)

    @pytest.mark.parametrize(
        "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
    )
    @pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
    def test_tensors(self, tmp_path, dtype, shape):
        state = {"tensor": torch.randint(2, shape).to(dtype)}
        save(tmp_path, 1, state)
        assert is_same(load_newest(tmp_path), state)

    def test_tensors_that_are_views_or_share_memory(self, tmp_path):
        whole = torch.arange(12.0).reshape(3, 4).requires_grad_()
        save(tmp_path, 1, {"whole": whole, "turned": whole.T, "column": whole[:, 1], "again": whole})
        loaded = load_newest(tmp_path)
        for name, expected in (("whole", whole), ("turned", whole.T), ("column", whole[:, 1]), ("again", whole)):
            assert torch.equal(loaded[name], expected)
            assert not loaded[name].requires_grad

    def test_not_a_number(self, tmp_path):
        save(tmp_path, 1, {"loss": math.nan, "tensor": torch.tensor(math.nan)})
        loaded = load_newest(tmp_path)
        assert math.isnan(loaded["loss"])
        assert loaded["tensor"].isnan()

    def test_tuples_come_back_as_lists(self, tmp_path):
        save(tmp_path, 1, {"pair": (1, (torch.ones(1), 2))})
        assert is_same(load_newest(tmp_path), {"pair": [1, [torch.ones(1), 2]]})

    def test_the_saved_state_is_not_changed(self, tmp_path):
        state, expected = state_of(1), state_of(1)
        save(tmp_path, 1, state)
        state["weights"]["bias"] += 1
        assert is_same(load_newest(tmp_path), expected)

    def test_what_cannot_be_saved_leaves_the_older_one(self, tmp_path):
        save(tmp_path, 1, state_of(1))
        with pytest.raises(TypeError):
            save(tmp_path, 2, {"path": tmp_path})
        assert is_same(load_newest(tmp_path), state_of(1))


class TestFolder:
    def test_none_where_nothing_was_saved(self, tmp_path):
        assert load_newest(tmp_path) is None
        assert load_newest(tmp_path / "missing") is None

    def test_the_newest_two_are_kept(self, tmp_path):
        folder = tmp_path / "run" / "checkpoint"
        for step in (1, 2, 9, 10, 11):
            save(folder, step, state_of(step))
        assert steps_in(folder) == ["00000010", "00000011"]
        assert steps_in(folder / "00000011") == sorted(FILES)
        assert load_newest(folder)["step"] == 11

    def test_saving_a_step_again_replaces_it(self, tmp_path):
        save(tmp_path, 1, state_of(1))
        save(tmp_path, 2, state_of(2))
        save(tmp_path, 2, {**state_of(2), "text": "again"})
        assert steps_in(tmp_path) == ["00000001", "00000002"]
        assert load_newest(tmp_path)["text"] == "again"

    @pytest.mark.parametrize("left", [[], ["tensors.safetensors"], FILES])
    def test_what_a_crash_left_is_ignored(self, tmp_path, left):
        save(tmp_path, 1, state_of(1))
        crashed = tmp_path / ".00000002.1234"
        crashed.mkdir()
        for name in left:
            shutil.copy(tmp_path / "00000001" / name, crashed)
        assert load_newest(tmp_path)["step"] == 1
        save(tmp_path, 2, state_of(2))
        assert load_newest(tmp_path)["step"] == 2

    def test_what_a_crash_left_is_no_checkpoint(self, tmp_path):
        save(tmp_path, 2, state_of(2))
        (tmp_path / "00000002").rename(tmp_path / ".00000002.1234")
        assert load_newest(tmp_path) is None

    def test_a_save_that_crashes_before_its_end_is_not_there(self, tmp_path, monkeypatch):
        save(tmp_path, 1, state_of(1))

        def crash(path, content):
            raise KeyboardInterrupt

        monkeypatch.setattr(checkpoint, "write_whole", crash)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2, state_of(2))
        monkeypatch.undo()
        assert load_newest(tmp_path)["step"] == 1
        save(tmp_path, 2, state_of(2))
        assert load_newest(tmp_path)["step"] == 2


class Bomb:
    """What no checkpoint may ever unpickle."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path):
    path.write_bytes(b"")


def replace_by_pickle(path):
    path.write_bytes(pickle.dumps(Bomb()))


def replace_by_torch(path):
    torch.save(Bomb(), path)


def replace_by_json(path):
    path.write_text("[1]")


DAMAGES = {
    "cut": cut,
    "empty": empty,
    "missing": Path.unlink,
    "pickle": replace_by_pickle,
    "torch": replace_by_torch,
    "json": replace_by_json,
}


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    @pytest.mark.parametrize("name", FILES)
    def test_a_damaged_newest_gives_the_previous(self, tmp_path, name, damage):
        save(tmp_path, 1, state_of(1))
        save(tmp_path, 2, state_of(2))
        damage(tmp_path / "00000002" / name)
        assert is_same(load_newest(tmp_path), state_of(1))

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    @pytest.mark.parametrize("name", FILES)
    def test_when_all_are_damaged_the_error_names_each(self, tmp_path, name, damage):
        for step in (1, 2):
            save(tmp_path, step, state_of(step))
            damage(tmp_path / f"{step:08d}" / name)
        with pytest.raises(CheckpointError, match=r"no checkpoint can be read(.|\n)*00000002(.|\n)*00000001"):
            load_newest(tmp_path)

    @pytest.mark.parametrize("damage", [replace_by_pickle, replace_by_torch])
    def test_a_pickle_with_the_right_checksum_is_refused(self, tmp_path, damage):
        save(tmp_path, 1, state_of(1))
        damage(tmp_path / "00000001" / "tensors.safetensors")
        header = json.loads((tmp_path / "00000001" / "state.json").read_text())
        blob = (tmp_path / "00000001" / "tensors.safetensors").read_bytes()
        header["sha256"] = hashlib.sha256(blob).hexdigest()
        (tmp_path / "00000001" / "state.json").write_text(json.dumps(header))
        with pytest.raises(CheckpointError):
            load_newest(tmp_path)

    def test_another_format_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(checkpoint, "FORMAT", 99)
        save(tmp_path, 1, state_of(1))
        monkeypatch.undo()
        with pytest.raises(CheckpointError, match="format 99, this version reads 1 and 2"):
            load_newest(tmp_path)

    @pytest.mark.parametrize("name", FILES)
    def test_one_flipped_bit_never_gives_a_wrong_state(self, tmp_path, name):
        save(tmp_path, 1, state_of(1))
        save(tmp_path, 2, state_of(2))
        path = tmp_path / "00000002" / name
        whole = path.read_bytes()
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            loaded = load_newest(tmp_path)
            # A flip beside what state.json says may leave its meaning; then the newest is as good as it was.
            assert is_same(loaded, state_of(1)) or (name == "state.json" and is_same(loaded, state_of(2)))


OURS = RunIdentity("sweep-1", "trial-0003", settings_digest({"seed": 1}))
OTHERS = {
    "another sweep": replace(OURS, sweep="sweep-2"),
    "the run trial-0004": replace(OURS, run="trial-0004"),
    "other settings": replace(OURS, settings=settings_digest({"seed": 2})),
}


class TestIdentity:
    """A checkpoint is of one run with its settings, and of one step."""

    def last(self, folder, step=2, **changes):
        return RunCheckpoint(folder, step, OURS, accepts_format_1=False, remedy="do this", **changes)

    def test_its_own(self, tmp_path):
        for step in (1, 2):
            save(tmp_path, step, state_of(step), identity=OURS)
        assert is_same(load_newest(tmp_path, OURS), state_of(2))
        assert is_same(self.last(tmp_path).load(), state_of(2))
        assert is_same(self.last(tmp_path, 1).load(), state_of(1))

    @pytest.mark.parametrize("whose", OTHERS)
    def test_of_another_run_it_is_not_used(self, tmp_path, whose):
        save(tmp_path, 1, state_of(1), identity=OURS)
        save(tmp_path, 2, state_of(2), identity=OTHERS[whose])
        skipped = []
        assert is_same(load_newest(tmp_path, OURS, skip=lambda path, why: skipped.append(why)), state_of(1))
        assert [whose in why for why in skipped] == [True]
        with pytest.raises(
            CheckpointError, match=f"{tmp_path}/00000002, cannot be used: it belongs .*{whose}.*; do this"
        ):
            self.last(tmp_path).load()

    def test_one_that_does_not_say_whose_it_is(self, tmp_path):
        save(tmp_path, 2, state_of(2))
        header = json.loads((tmp_path / "00000002" / "state.json").read_text())
        (tmp_path / "00000002" / "state.json").write_text(json.dumps({**header, "format": 1}))
        with pytest.raises(CheckpointError, match="does not say of which run it is"):
            self.last(tmp_path).load()
        assert is_same(replace(self.last(tmp_path), accepts_format_1=True).load(), state_of(2))

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    @pytest.mark.parametrize("name", FILES)
    def test_an_older_one_never_stands_for_the_last(self, tmp_path, name, damage):
        for step in (1, 2):
            save(tmp_path, step, state_of(step), identity=OURS)
        damage(tmp_path / "00000002" / name)
        with pytest.raises(CheckpointError, match=r"00000002, cannot be used: .*; do this"):
            self.last(tmp_path).load()

    def test_the_content_of_another_step(self, tmp_path):
        for step in (1, 2):
            save(tmp_path, step, state_of(step), identity=OURS)
        shutil.rmtree(tmp_path / "00000002")
        with pytest.raises(CheckpointError, match="it is not there; others there: 1; do this"):
            self.last(tmp_path).load()
        shutil.copytree(tmp_path / "00000001", tmp_path / "00000002")
        with pytest.raises(CheckpointError, match="it is of the step 1; do this"):
            self.last(tmp_path).load()
        assert is_same(load_newest(tmp_path, OURS), state_of(1))

    def test_of_format_1_the_content_of_another_step(self, tmp_path):
        save(tmp_path, 2, {"metrics": {"step": 1}})
        header = json.loads((tmp_path / "00000002" / "state.json").read_text())
        (tmp_path / "00000002" / "state.json").write_text(json.dumps({**header, "format": 1}))
        with pytest.raises(CheckpointError, match="it is of the step 1"):
            RunCheckpoint(tmp_path, 2).load()


def test_write_whole_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.write_whole(path, b"old")

    def fail(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr("trainables.storage.atomic.os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        checkpoint.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    checkpoint.write_whole(path, b"new")
    assert path.read_bytes() == b"new"
