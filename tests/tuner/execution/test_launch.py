"""What is said or refused before a sweep is made: folders of data that are none, homes that others can read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tuner.errors import UserError
from tuner.execution import launch
from tuner.execution.launch import LaunchOptions


@pytest.mark.parametrize("data", ["https://host/mnist", "s3://bucket/x", "HTTP://me:secret-password@host/x"])
def test_data_from_a_url_is_refused_with_the_url(data):
    with pytest.raises(UserError, match="is a URL, and the files of a dataset are taken from a folder") as refused:
        LaunchOptions(data=Path(data))
    assert data.partition("://")[0] + "://" in str(refused.value)
    assert "secret-password" not in str(refused.value)


def test_data_that_is_no_folder_is_refused_by_every_command(tmp_path, run):
    (tmp_path / "file").touch()
    for command in (["launch", "digits"], ["train", "standard"], ["evaluate", "file"]):
        for data in ("nowhere", "file", "https://host/x"):
            code, output = run(*command, "--data", data)
            assert (code, f"--data {data} is " in output) == (2, True), output


@pytest.mark.parametrize(("mode", "is_said"), [(0o700, False), (0o750, False), (0o755, True), (0o701, True)])
def test_a_home_that_others_can_read_is_said(make_sweep, mode, is_said, monkeypatch):
    sweep = make_sweep()
    for folder in sweep.store.root.parents:  # those of a test's folder are private
        monkeypatch.setitem(_MODES, folder, 0o755)
    monkeypatch.setitem(_MODES, sweep.store.root, mode)
    monkeypatch.setattr(Path, "stat", _stat)
    text = io.StringIO()
    launch._say_if_open(sweep.store, Console(file=text))
    assert ("chmod o-rwx" in text.getvalue()) == is_said


_MODES: dict[Path, int] = {}
_real_stat = Path.stat


def _stat(path: Path, **options: bool):
    info = _real_stat(path, **options)
    if path not in _MODES:
        return info
    return type(info)((0o040000 | _MODES[path], *tuple(info)[1:]))


def test_a_detached_driver_repairs_by_itself(make_sweep):
    command = launch._driver_command(make_sweep(), 7, repair=True, insecure=False)
    assert command[-3:] == ["--ready-fd", "7", "--repair"]
