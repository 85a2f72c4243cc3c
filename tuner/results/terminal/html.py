"""Tables as HTML, which a notebook shows where a terminal shows text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from html import escape

from tuner.results.compare import comparison_sentences
from tuner.results.terminal.columns import Table, cells
from tuner.results.terminal.comparison import comparison_table
from tuner.sweep.snapshot import Snapshot
from tuner.sweep.status import describe_runs, summarize

_MAX_ROWS = 30


def snapshot_html(snapshot: Snapshot) -> str:
    """Return the runs of a sweep, the best first, and what follows from them, as HTML without scripts."""
    table = comparison_table(snapshot)
    left_out = len(table.rows) - _MAX_ROWS
    more = [f"{left_out:,} more runs: sweep.trials() has all."] if left_out > 0 else []
    said = [f"{describe_runs(summarize(snapshot))}.", *more, *comparison_sentences(snapshot), *snapshot.problems]
    return table_html(replace(table, rows=table.rows[:_MAX_ROWS]), said)


def table_html(table: Table, said: Iterable[str]) -> str:
    """Return a table as HTML, with its title above it and sentences below it."""
    heads = "".join(f"<th>{escape(column.heading)}</th>" for column in table.columns)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in cells(table))
    title = f"<p><b>{escape(table.title)}</b></p>" if table.title else ""
    return (
        f"<div>{title}<table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"
        f"{''.join(f'<p>{escape(each)}</p>' for each in said)}</div>"
    )
