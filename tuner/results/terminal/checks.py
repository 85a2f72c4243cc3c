"""Tables of what was checked or replayed of a sweep."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tuner.results.terminal.columns import Column, Row, Table, fixed
from tuner.results.verify import Verification
from tuner.search.replay import Replay

if TYPE_CHECKING:
    from tuner.results.judging import CurveJudgement


def replay_table(replay: Replay) -> Table:
    """Return one row: what another pruner stops, what it saves, and what it loses."""
    best, kept = replay.best, replay.kept
    values = {name: value for name, value in asdict(replay).items() if name not in ("pruner", "best", "kept")}
    values |= {"best": best.run if best else None, "best_value": best.value if best else None}
    values |= {"kept": kept.run if kept else None, "kept_value": kept.value if kept else None}
    columns = (
        Column("pruned", "pruned"),
        Column("trials", "of trials"),
        Column("complete_pruned", "complete, pruned", rank=1),
        Column("saved", "compute saved", text=fixed("saved")),
        Column("compute", "of compute", text=fixed("compute")),
        Column("best", "best trial", "name", rank=3),
        Column("kept", "best that is kept", "name", rank=2),
    )
    return Table(f"{replay.sweep} with the pruner {replay.pruner}", columns, (Row(values),))


def judgement_table(sweep: str, judgement: CurveJudgement) -> Table:
    """Return a row for each step: how well its reports rank a sweep's trials as their ends do."""
    columns = (
        Column("step", "step"),
        Column("compute", "compute", text=fixed("compute")),
        Column("trials", "trials"),
        Column("correlation", "rank correlation with the end", text=fixed("correlation", 2)),
        Column("among_best", "among the best quarter", text=fixed("among_best", 2)),
    )
    rows = tuple(Row(asdict(step), "bold" if step == judgement.first_right else None) for step in judgement.steps)
    keys = ("step", "compute", "trials", "correlation", "among_best")
    return Table(f"{sweep}: how well the reports of each step judge", columns, rows, first_keys=keys)


def verification_table(verification: Verification) -> Table:
    """Return a row for each problem of a sweep."""
    columns = (Column("sweep", "sweep", "name"), Column("problem", "problem", "words"))
    rows = tuple(Row({"sweep": verification.sweep, "problem": problem}) for problem in verification.problems)
    return Table(verification.lines[-1], columns, rows, first_keys=("sweep", "problem"))
