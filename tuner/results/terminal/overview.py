"""The table of several sweeps: how far each has come, and its best trial."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.results.terminal.columns import NOTHING, Column, Row, Table, Values
from tuner.sweep.status import SweepSummary, describe_runs, notes_of, shown_value

_STYLES = {"running": "bold green", "failed": "red", "unreadable": "red"}


def summaries_table(summaries: Sequence[SweepSummary], where: str) -> Table:
    """Return a row for each sweep of a home."""
    columns = (
        Column("sweep", "sweep", "name"),
        Column("state", "state", "words"),
        Column("runs", "runs", "words", rank=1),
        Column("best", "best", rank=2, text=_best),
        Column("best_run", "best trial", "name", rank=3),
    )
    return Table(f"Sweeps in {where}", columns, tuple(_row(summary) for summary in summaries))


def summary_notes(summaries: Sequence[SweepSummary]) -> list[str]:
    """Return what a person should know of sweeps beside the table: why a state is so, and what is wrong with files."""
    return [f"{summary.name}: {'; '.join(notes)}" for summary in summaries if (notes := notes_of(summary))]


def _best(values: Values) -> str:
    return str(values["best_shown"] or NOTHING)


def _row(summary: SweepSummary) -> Row:
    best = summary.best
    values: dict[str, object] = {
        "sweep": summary.name,
        "state": summary.state,
        "runs": "" if summary.state == "unreadable" else describe_runs(summary),
        "best": best.value if best else None,
        "best_shown": shown_value(best) if best else None,
        "best_run": best.run if best else None,
        "best_metric": best.metric if best else None,
        "note": "; ".join(notes_of(summary)),
        "created": summary.created,
    }
    return Row(values, _STYLES.get(summary.state))
