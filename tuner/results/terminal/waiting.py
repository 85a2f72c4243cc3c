"""Shows that something goes on: on a terminal or in a notebook a spinner or a bar with its time; elsewhere lines."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console

from tuner.results.terminal.output import can_redraw, say

_SILENT_S, _FRAME_S, _FRAMES = 0.7, 0.1, "|/-\\"


class SilenceBreaker:
    """Shows on a terminal that a command is at work, from a moment after its start until it writes something itself.

    Args:
        stream: the terminal; nothing is shown on anything else.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._over, self._is_shown = stream, threading.Event(), False
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> SilenceBreaker:
        """Start."""
        if self._stream.isatty():
            self._thread.start()
        else:
            self._over.set()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self.end()

    def end(self) -> None:
        """Remove what is shown, once: the line is as if nothing had been there."""
        if not self._over.is_set():
            self._over.set()
            self._thread.join()
            if self._is_shown:
                self._write("\r\x1b[K")

    def _show(self) -> None:
        began = time.monotonic()
        wait = _SILENT_S
        while not self._over.wait(wait):
            self._is_shown, wait, gone = True, _FRAME_S, time.monotonic() - began
            self._write(f"\r{_FRAMES[int(gone / _FRAME_S) % len(_FRAMES)]} Working, {gone:.0f} s\x1b[K")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone
            self._stream.write(text)
            self._stream.flush()


OnProgress = Callable[[int, int], None]
"""Is told how many of how many steps are done."""


@contextlib.contextmanager
def waiting(console: Console, what: str, *, in_logs: bool = True) -> Iterator[None]:
    """Show what goes on until this is left: a spinner that disappears again; one line if this is no terminal.

    Args:
        console: where.
        what: goes on, as a line of its own.
        in_logs: whether a pipe or a file gets that line.
    """
    if not can_redraw(console) or console.quiet:
        if in_logs:
            say(console, what, "dim")
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as spinner:
        spinner.add_task(what, total=None)
        yield


@contextlib.contextmanager
def counting(console: Console, what: str) -> Iterator[OnProgress]:
    """Show how much of something is done, and how long the rest will take: a bar, or nothing if this is no terminal.

    Args:
        console: where.
        what: is counted.

    Yields:
        What is to be called with every step that is done.
    """
    if not can_redraw(console) or console.quiet:
        yield lambda done, total: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        *(TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TextColumn("gone,"), TimeRemainingColumn(), TextColumn("left")),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show
