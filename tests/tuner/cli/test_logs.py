"""`tuner logs` of files that are not what a log is, and the driver that would write to one."""

from __future__ import annotations

import os

import pytest

from tuner.errors import UserError
from tuner.execution.launch import LOG, start_detached


@pytest.fixture
def logs(run, trained_sweep):
    """Return a function that prints a log of the sweep, and the sweep."""
    return lambda *arguments: run("logs", "real", *arguments, "--home", str(trained_sweep.store.root)), trained_sweep


def test_a_log_is_printed_whole(logs):
    call, sweep = logs
    text = "é\n" * 700_000 + "no line break"  # more than is read at once
    (sweep.folder / LOG).write_text(text, encoding="utf-8")
    assert call() == (0, text)


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder"])
def test_what_is_no_file_is_refused(logs, kind):
    call, sweep = logs
    for path in (sweep.folder / LOG, sweep.folder / "trials" / "0000" / "log.txt"):
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(kind)
    for arguments in ([], ["0"]):
        code, output = call(*arguments)
        assert code == 2
        assert "cannot be read: " in output
    with pytest.raises(UserError, match="the driver cannot write its log"):
        start_detached(sweep)
