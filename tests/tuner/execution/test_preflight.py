"""Devices that a person asks for: what is there is taken, and what is not is refused before anything starts."""

from __future__ import annotations

import pytest

from trainables.training.machine import runtime
from tuner.errors import UserError
from tuner.execution import preflight
from tuner.execution.preflight import choose_device


@pytest.mark.parametrize(
    ("num", "asked", "expected"),
    [
        (0, None, "cpu"),
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, None, "cuda"),
        (2, "auto", "cuda"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_what_is_there_is_taken(monkeypatch, num, asked, expected):
    monkeypatch.setattr(runtime, "num_gpus", lambda: num)
    assert choose_device(asked) == expected


def test_what_is_measured_on_a_processor_by_default_is_so_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(runtime, "num_gpus", lambda: 1)
    assert [choose_device(asked, by_default="cpu") for asked in (None, "auto")] == ["cpu", "cuda"]


@pytest.mark.parametrize(
    ("num", "shown_by_driver", "asked", "message"),
    [
        (0, 0, "cuda", "--device cuda is not there: this machine has no GPU, only its processors"),
        (0, 2, "cuda", "torch sees none of the 2 GPUs here"),
        (2, 2, "cuda:2", "this machine has cuda:0, cuda:1 and its processors"),
        (2, 2, "cuda:-1", "--device is auto, cpu, cuda or one like cuda:1, not 'cuda:-1'"),
        (2, 2, "gpu", "not 'gpu'"),
        (2, 2, "", "not ''"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(monkeypatch, num, shown_by_driver, asked, message):
    monkeypatch.setattr(runtime, "num_gpus", lambda: num)
    monkeypatch.setattr(preflight, "num_local_gpus", lambda: shown_by_driver)
    with pytest.raises(UserError) as caught:
        choose_device(asked)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        ["launch", "digits"],
        ["resume", "tiny"],
        ["confirm", "tiny"],
        ["draw", "tiny"],
        ["evaluate", "bundle"],
        ["verify", "bundle"],
        ["train", "standard"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_refuses_a_device_before_anything_starts(make_sweep, run, tmp_path, command):
    make_sweep()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "configuration.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    home = [] if command[0] in ("train", "verify", "evaluate") else ["--home", str(tmp_path)]
    for device, message in (
        ("cuda:77", "--device cuda:77 is not there: "),
        ("tpu", "cuda or one like cuda:1, not 'tpu'"),
    ):
        code, output = run(*command, *home, "--device", device)
        assert (code, message in output.replace("\n", " ")) == (2, True), output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_device_is_for_the_numbers_of_a_bundle(make_sweep, run, tmp_path):
    make_sweep()
    code, output = run("verify", "tiny", "--home", str(tmp_path), "--device", "cpu")
    assert (code, "--device is for a bundle" in output) == (2, True)
