"""What goes on is shown: a spinner and a bar on a terminal, which disappear, and lines elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from tuner.results.terminal.waiting import counting, waiting


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
