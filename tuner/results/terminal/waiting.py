"""Shows that something goes on: on a terminal a spinner with its time, or a bar with the time left; elsewhere lines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console

from tuner.results.terminal.output import say

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
    if not console.is_terminal or console.quiet:
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
    if not console.is_terminal or console.quiet:
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
