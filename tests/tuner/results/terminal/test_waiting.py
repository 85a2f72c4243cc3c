"""What goes on is shown: a spinner and a bar on a terminal, which disappear, and lines elsewhere."""

from __future__ import annotations

import builtins
import io
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from rich.console import Console

from tuner.results.terminal import output
from tuner.results.terminal import waiting as waiting_module
from tuner.results.terminal.waiting import SilenceBreaker, counting, downloading, leave_terminal_alone, waiting


def console(is_terminal: bool) -> tuple[Console, io.StringIO]:
    """Return a console and what it writes to."""
    written = io.StringIO()
    return Console(file=written, width=80, force_terminal=is_terminal, markup=False), written


def test_a_terminal_shows_a_spinner_and_a_bar_with_the_time_left():
    shown, written = console(True)
    with waiting(shown, "Starting Ray"):
        assert "Starting Ray" in written.getvalue()
    with counting(shown, "Evaluating") as on_progress:
        on_progress(1, 4)
    assert "1/4" in written.getvalue()
    assert "left" in written.getvalue()
    assert "\x1b[2K" in written.getvalue()  # it is taken away again


def test_a_log_has_one_line_and_no_bar():
    shown, written = console(False)
    with waiting(shown, "Starting Ray"), counting(shown, "Evaluating") as on_progress:
        on_progress(1, 4)
    with waiting(shown, "unsaid", in_logs=False):
        pass
    assert written.getvalue() == "Starting Ray\n"


class Terminal(io.StringIO):
    """A terminal that remembers what is written to it, and says when that is."""

    def __init__(self) -> None:
        super().__init__()
        self.is_written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.is_written.set()
        return super().write(text)


def test_a_command_that_says_nothing_is_shown_to_be_at_work_until_it_does(monkeypatch):
    monkeypatch.setattr(waiting_module, "_SILENT_S", 0.0)
    terminal = Terminal()
    with SilenceBreaker(terminal) as silence:
        for said in ("a line\n", "\x1b[2Kanother\n\x1b[?25h"):
            assert terminal.is_written.wait(60)
            silence.is_written(said)
            terminal.write(said)
            terminal.is_written.clear()
        assert terminal.is_written.wait(60)
        leave_terminal_alone()
        leave_terminal_alone()
    said = re.sub(r"(\r[-|/\\] Working, 0 s\x1b\[K)+\r\x1b\[K", "(at work)", terminal.getvalue())
    assert said == "(at work)a line\n(at work)\x1b[2Kanother\n\x1b[?25h(at work)"


def test_what_takes_time_after_the_last_step_of_a_bar_is_shown(monkeypatch):
    monkeypatch.setattr(waiting_module, "_SILENT_S", 0.2)
    terminal = Terminal()
    with SilenceBreaker(terminal) as silence:

        class Stdout(io.StringIO):
            def write(self, text: str) -> int:
                silence.is_written(text)
                return terminal.write(text)

        with counting(Console(file=Stdout(), width=80, force_terminal=True), "Evaluating") as on_progress:
            on_progress(3, 4)
            on_progress(4, 4)
            terminal.is_written.clear()
            assert terminal.is_written.wait(60)
    assert "Working, 0 s" in terminal.getvalue().rpartition("4/4")[2]


def test_a_line_that_is_not_ended_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(waiting_module, "_SILENT_S", 0.0)
    terminal = Terminal()
    with SilenceBreaker(terminal) as silence:
        assert terminal.is_written.wait(60)
        silence.is_written("Delete it? [y/N]: ")
        terminal.is_written.clear()
        silence.is_written("\x1b[?25h")
        assert not terminal.is_written.wait(0.3)


@pytest.mark.parametrize("written", ["a table for less\n", None])
def test_what_is_written_for_another_program_ends_it(monkeypatch, written):
    monkeypatch.setattr(waiting_module, "_SILENT_S", 0.0)
    terminal = Terminal()
    with SilenceBreaker(terminal, is_alone=written is None) as silence:
        assert terminal.is_written.wait(60)
        silence.is_written(written)
        terminal.is_written.clear()
        assert not terminal.is_written.wait(0.3)


def test_nothing_is_shown_of_a_command_that_speaks_at_once_or_writes_into_a_file():
    terminal, file = Terminal(), io.StringIO()
    with SilenceBreaker(terminal) as silence:
        silence.end()
    with SilenceBreaker(file):
        pass
    assert terminal.getvalue() == file.getvalue() == ""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"force_terminal": True}, True),
        ({"force_terminal": True, "force_jupyter": True}, False),
        ({"file": io.StringIO()}, False),
    ],
)
def test_only_a_terminal_is_redrawn_and_jupyter_is_none_whatever_its_kernel_says(options, expected):
    assert output.can_redraw(Console(**options)) is expected


@pytest.fixture
def cell(monkeypatch, tmp_path) -> Iterator[dict[str, Any]]:
    """Run IPython in this process; give what is shown below the cell: the content of each output as it is now."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setattr(builtins, "get_ipython", None, raising=False)
    monkeypatch.setattr(builtins, "display", None, raising=False)
    monkeypatch.setattr(sys, "displayhook", sys.displayhook)
    shell, shown = InteractiveShell.instance(), {}
    monkeypatch.setattr(
        shell.display_pub,
        "publish",
        lambda data, metadata=None, transient=None, **_: shown.__setitem__(transient["display_id"], data),
    )
    yield shown
    InteractiveShell.clear_instance()


def test_a_notebook_shows_lines_that_are_replaced_and_are_empty_at_the_end(cell):
    shown = Console(force_jupyter=True)

    def texts() -> list[str]:
        return [data["text/plain"] for data in cell.values()]

    with waiting(shown, "Starting <Ray>"):
        assert texts() == ["Starting <Ray>"]
        assert next(iter(cell.values()))["text/html"] == "<div>Starting &lt;Ray&gt;</div>"
    with counting(shown, "Evaluating") as on_progress:
        on_progress(1, 4)
        assert texts() == ["", "Evaluating: 1 of 4"]
    with downloading(shown) as on_download:
        on_download(0, 0, "train-images")
        on_download(2_500_000, 0, "train-images")
        assert texts() == ["", "", "train-images: 2.5 MB"]
    assert texts() == [""] * 3
    with waiting(Console(force_jupyter=True, quiet=True), "Starting Ray"):
        assert len(cell) == 3
