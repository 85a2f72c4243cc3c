"""Prints tables and sentences: within the width of a terminal, and whole into a pipe or a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from html import escape
from shlex import quote
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from trainables.errors import printable

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from tuner.results.terminal.columns import Table
    from tuner.results.terminal.layout import Layout

_typed_home: ContextVar[str | None] = ContextVar("typed_home", default=None)
SWEEP_COMMANDS = (
    *("compare", "confirm", "copy", "dashboard", "delete", "draw", "evaluate", "export", "launch", "logs", "pause"),
    *("replay", "report", "resume", "show", "status", "stop", "sync", "trials", "trust", "ui", "verify", "watch"),
)
"""Those that take ``--home``."""
_SWEEP_COMMAND = re.compile(rf"(?<=`)tuner ({'|'.join(SWEEP_COMMANDS)})\b(?![^`]* --home )[^`]*(?=`)")
_LINES = "    \n    \n ── \n    \n    \n    \n    \n    \n"


def can_redraw(console: Console) -> bool:
    """Return whether what was printed can be replaced: on a terminal. Jupyter's kernel only calls itself one."""
    return console.is_terminal and not console.is_jupyter


class NotebookOutput:
    """What stands below the cell of a notebook, and can be replaced. A frontend needs no widgets for it."""

    def __init__(self) -> None:
        from IPython.display import display

        self._handle = display(_contents("", ""), raw=True, display_id=True)

    def show(self, text: str, html: str = "") -> None:
        """Replace what stands there.

        Args:
            text: for frontends that show no HTML.
            html: for all others; by default the text.
        """
        self._handle.update(_contents(text, html), raw=True)


def _contents(text: str, html: str) -> dict[str, str]:
    """Return both by their media types, from which a frontend chooses."""
    return {"text/plain": text, "text/html": html or f"<div>{escape(text)}</div>"}


def name_home(home: str | None) -> None:
    """Let the commands that `say` names have ``--home`` with what was typed, until this is called again.

    Args:
        home: None if nothing was typed.
    """
    _typed_home.set(home)


def _with_home(text: str) -> str:
    home = _typed_home.get()
    if home is None:
        return text
    return _SWEEP_COMMAND.sub(lambda found: f"{found[0]} --home {quote(home)}", text)


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print a sentence: its words are wrapped where a terminal ends, and never cut; elsewhere it stays one line."""
    width = console.width if console.is_terminal else None
    for line in _with_home(printable(text)).split("\n"):
        console.print(Text("\n".join(_wrapped(line, width)), style=style or ""), soft_wrap=True, highlight=False)


def _wrapped(line: str, width: int | None, hanging: str = "") -> list[str]:
    if width is None:
        return [line]
    indent = line[: len(line) - len(line.lstrip(" "))]
    lines = wrap(
        line.strip(" "),
        width,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [""]


def fold_yaml(text: str, width: int) -> str:
    """Return YAML of the same content with no line that is wider, if that is possible without cutting a word.

    A comment that is too long stands above its line, or is wrapped together with the lines of comment that follow it;
    what is a mistake, or would mean something else, is left as it is.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    lines: list[str] = []
    for line in _with_joined_comments(text.splitlines(), width):
        if len(line) <= width:
            lines.append(line)
            continue
        body, _, comment = f" {line}".partition(" #")
        indent = line[: len(line) - len(line.lstrip(" "))]
        if comment:
            lines += _wrapped(f"{indent}# {comment.strip()}", width, "# ")
        if body.strip():
            lines += _wrapped(body.rstrip()[1:], width, "    ")
    folded = "\n".join(lines)
    try:
        is_same = YAML(typ="safe").load(folded) == YAML(typ="safe").load(text)
    except YAMLError:
        return text
    return folded if is_same else text


def _with_joined_comments(lines: Iterable[str], width: int) -> list[str]:
    """Return lines of YAML in which lines of nothing but comment are joined to one before them that is too long."""
    joined: list[str] = []
    for line in lines:
        indent, mark, comment = line.partition("# ")
        is_next = joined and len(joined[-1]) > width and joined[-1].startswith(f"{indent}# ")
        if is_next and mark and not indent.strip() and comment[:1].isalnum():
            joined[-1] += f" {comment}"
        else:
            joined.append(line)
    return joined


def say_all(console: Console, lines: Iterable[str], style: str | None = None) -> None:
    """Print sentences, each on a line of its own."""
    for line in lines:
        say(console, line, style)


def print_table(table: Table, console: Console, hint: str = "") -> None:
    """Print a table, and below it which columns a terminal was too narrow for.

    Args:
        table: what is printed.
        console: a terminal, whose width the table fits; or a pipe or file, which gets all of it.
        hint: what else shows these columns, as in "`--columns` or `--format csv`"; by default only a wider terminal.
    """
    from tuner.results.terminal.columns import cells
    from tuner.results.terminal.layout import fit

    width = console.width if console.is_terminal else None
    layout = fit(table.columns, cells(table), width)
    say(console, table.title, "italic")
    wide = console
    if layout.width > console.width:
        wide = Console(
            file=console.file,
            width=layout.width,
            force_terminal=console.is_terminal,
            no_color=console.no_color,
            markup=False,
        )
    wide.print(as_renderable(table, layout, console), crop=False)
    if table.note:
        say(console, table.note, "dim")
    if layout.left_out:
        say(console, left_out(table, layout, console.width, hint), "dim")


def left_out(table: Table, layout: Layout, width: int, hint: str = "") -> str:
    """Return which columns are not shown, and what shows them."""
    names = ", ".join(table.columns[index].heading for index in layout.left_out)
    ways = f"a wider terminal, {hint}" if hint else "a wider terminal"
    verb = "show" if " and " in hint else "shows"
    return f"Left out, for want of room in {width} columns: {names}; {ways} {verb} them."


def as_renderable(table: Table, layout: Layout, console: Console) -> RichTable:
    """Return a table for rich, with the columns and widths of a layout."""
    from rich.box import Box
    from rich.table import Table as RichTable

    from tuner.results.terminal.layout import ELLIPSIS, shorten

    shown = RichTable(box=Box(_LINES), show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, width in layout.shown:
        column = table.columns[index]
        shown.add_column(
            Text(column.heading, overflow="fold"), width=width, justify="right" if column.kind == "number" else "left"
        )
    is_unicode = console.encoding.lower().startswith("utf")
    for row in table.rows:
        texts = []
        for index, width in layout.shown:
            column = table.columns[index]
            text = printable(column.cell(row.values))
            if column.kind == "name":
                text = shorten(text, width)
                text = text if is_unicode else text.replace(ELLIPSIS, "~")
            texts.append(Text(text, overflow="fold"))
        shown.add_row(*texts, style=row.style)
    return shown
