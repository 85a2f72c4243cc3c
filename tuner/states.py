"""How a sweep stands: running, interrupted, completed or failed, and why."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import optuna

from tuner.budgets import is_complete
from tuner.records import Record
from tuner.storage import open_reader
from tuner.studies import SEARCH
from tuner.sweep import Sweep

SweepState = Literal["running", "interrupted", "completed", "failed"]
GAVE_UP = "gave_up"  # attribute of the search's study: why the last driver gave the sweep up, empty if it did not
ALL_FAILED = "every run has failed"


def all_failed(records: Collection[Record]) -> bool:
    """Return whether not one of the runs that there are could be trained."""
    return bool(records) and all(record.state == "failed" for record in records)


def state_of(sweep: Sweep, records: Collection[Record], *, is_locked: bool | None = None) -> tuple[SweepState, str]:
    """Return how a sweep stands and, of one that has failed, why: it gave up, or not one of its runs could be trained.

    Args:
        sweep: a running one is known by its lock, which only a driver that is alive holds.
        records: of all its runs.
        is_locked: whether a driver holds the lock, for callers who know.
    """
    if sweep.is_running() if is_locked is None else is_locked:
        return "running", ""
    if is_complete(sweep, records):
        return ("failed", ALL_FAILED) if all_failed(records) else ("completed", "")
    reason = _why_given_up(sweep)
    return ("failed", reason) if reason else ("interrupted", "")


def _why_given_up(sweep: Sweep) -> str:
    storage = open_reader(sweep)
    if storage is None:
        return ""
    attributes = {study.study_name: study.user_attrs for study in optuna.get_all_study_summaries(storage)}
    reason: str = attributes.get(SEARCH, {}).get(GAVE_UP, "")
    return reason
