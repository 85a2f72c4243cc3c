"""Shows that something goes on: on a terminal a spinner or a bar with its time; in a notebook and elsewhere lines."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console

from tuner.results.terminal.output import NotebookOutput, can_redraw, say

_SILENT_S, _FRAME_S, _FRAMES = 0.5, 0.1, "|/-\\"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_active: SilenceBreaker | None = None


class SilenceBreaker:
    """Shows on a terminal that a command is at work whenever it has written nothing for a moment.

    Where the last line is not ended, as with a question, a bar or a table that is redrawn, nothing is added to it.

    Args:
        stream: the terminal; nothing is shown on anything else.
        is_alone: nothing else, such as a pager, writes on the terminal what the command has written; otherwise this
            ends with the first thing that it writes.
    """

    def __init__(self, stream: TextIO, *, is_alone: bool = True) -> None:
        self._stream, self._is_alone = stream, is_alone
        self._over, self._lock = threading.Event(), threading.Lock()
        self._last, self._is_line_ended, self._is_shown = time.monotonic(), True, False
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> SilenceBreaker:
        """Start."""
        global _active  # noqa: PLW0603  # as a process has one terminal
        if self._stream.isatty():
            _active = self
            self._thread.start()
        else:
            self._over.set()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        global _active  # noqa: PLW0603
        self.end()
        _active = None

    def is_written(self, text: str | None) -> None:
        """Note what is about to be written, and first remove what is shown; with None, which is unknown, it ends."""
        if self._over.is_set():
            return
        if text is None or not self._is_alone:
            self.end()
            return
        with self._lock:
            self._remove()
            self._last = time.monotonic()
            if visible := _ESCAPES.sub("", text):
                self._is_line_ended = visible.endswith(("\n", "\r"))

    def end(self) -> None:
        """Remove what is shown, for good: the line is as if nothing had been there."""
        self._over.set()
        with self._lock:
            self._remove()

    def _remove(self) -> None:
        if self._is_shown:
            self._is_shown = False
            self._write("\r\x1b[K")

    def _show(self) -> None:
        wait = _SILENT_S
        while not self._over.wait(wait):
            with self._lock:
                silent = time.monotonic() - self._last
                wait = max(_SILENT_S - silent, _FRAME_S)
                if silent >= _SILENT_S and self._is_line_ended and not self._over.is_set():
                    self._is_shown = True
                    self._write(f"\r{_FRAMES[int(silent / _FRAME_S) % len(_FRAMES)]} Working, {silent:.0f} s\x1b[K")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone
            self._stream.write(text)
            self._stream.flush()


def leave_terminal_alone() -> None:
    """Show no more that this command is at work: from here on it waits for others, or another program takes over."""
    if _active is not None:
        _active.end()


@contextlib.contextmanager
def _notebook_line() -> Iterator[NotebookOutput]:
    """Give a line below a notebook's cell, which is empty again at the end."""
    line = NotebookOutput()
    try:
        yield line
    finally:
        line.show("")


OnProgress = Callable[[int, int], None]
"""Is told how many of how many steps are done."""
OnDownload = Callable[[int, int, str], None]
"""Is told how many of how many bytes are there, 0 if nobody knows how many there will be, and of what."""


@contextlib.contextmanager
def waiting(console: Console, what: str, *, in_logs: bool = True) -> Iterator[None]:
    """Show what goes on until this is left: a spinner that disappears again; a line where there is no terminal.

    In a notebook the line disappears, too.

    Args:
        console: where.
        what: goes on, as a line of its own.
        in_logs: whether a pipe or a file gets that line.
    """
    if console.is_jupyter and not console.quiet:
        with _notebook_line() as line:
            line.show(what)
            yield
        return
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
    """Show how much of something is done, and how long the rest will take: a bar on a terminal; in a notebook how much.

    Elsewhere nothing is shown.

    The bar disappears with the last step: what may still take time after it is shown by `SilenceBreaker`.

    Args:
        console: where.
        what: is counted.

    Yields:
        What is to be called with every step that is done.
    """
    if console.is_jupyter and not console.quiet:
        with _notebook_line() as line:
            yield lambda done, total: line.show(f"{what}: {done:,} of {total:,}" if done < total else "")
        return
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
            if done >= total:
                bar.stop()

        yield show


@contextlib.contextmanager
def downloading(console: Console) -> Iterator[OnDownload]:
    """Show how much of a download is there: a bar on a terminal, a number in a notebook, else a line for each file.

    Yields:
        What is to be called with every piece that has come.
    """
    if console.is_jupyter and not console.quiet:
        with _notebook_line() as line:
            yield lambda done, total, what: line.show(f"{what}: {done / 1e6:.1f} MB" if done else what)
        return
    if not can_redraw(console) or console.quiet:
        lines: list[str] = []

        def print_once(done: int, total: int, what: str) -> None:
            if what not in lines:
                lines.append(what)
                say(console, what, "dim")

        yield print_once
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, description=what, completed=done, total=total or None, visible=True)

        yield show
