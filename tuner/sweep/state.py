"""The state of a sweep (running, interrupted, completed or failed), and the budgets that end its search."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from search_spaces.schema import Space
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best
from tuner.sweep.runs import Record

SweepState = Literal["running", "interrupted", "completed", "failed"]
GAVE_UP = "gave_up"  # attribute of the search's study: why the last driver gave the sweep up, empty if it did not
ALL_FAILED = "every run has failed"


def all_failed(records: Collection[Record]) -> bool:
    """Return whether not one of the runs that there are could be trained."""
    return bool(records) and all(record.state == "failed" for record in records)


def state_of_records(
    sweep: SweepFolder, records: Collection[Record], *, is_running: bool, gave_up: object
) -> tuple[SweepState, str]:
    """Return the state of a sweep and, if it failed, the reason. Reads nothing.

    Args:
        sweep: the sweep.
        records: of all runs of its search.
        is_running: whether a driver is at work.
        gave_up: the reason for which the last driver gave the sweep up; empty if it did not.
    """
    if is_running:
        return "running", ""
    if is_complete(sweep, records):
        return ("failed", ALL_FAILED) if all_failed(records) else ("completed", "")
    return ("failed", str(gave_up)) if gave_up else ("interrupted", "")


def seconds_spent(records: Collection[Record]) -> float:
    """Return for how many seconds drivers had worked on a sweep when its last run ended."""
    return max((record.ended_s or 0.0 for record in records), default=0.0)


def compute_spent(records: Collection[Record]) -> float:
    """Return the compute of all trials so far, in epochs of standard training."""
    return sum(record.metrics.get("compute", 0.0) for record in records if record.run.kind == "trial")


def spent_budget(space: Space, records: Collection[Record], seconds: float) -> str | None:
    """Return which budget, other than the number of trials, lets no new trial begin; None while none does.

    Args:
        space: with the budgets.
        records: of all runs.
        seconds: for which drivers have worked on the sweep.
    """
    budget = space.budget
    if budget.time is not None and seconds >= budget.time:
        return f"the time of {budget.time:g} s is spent"
    if budget.total_compute is not None and compute_spent(records) >= budget.total_compute:
        return f"the total compute of {budget.total_compute:g} is spent"
    if budget.target is not None:
        winner = best(records, space.objective.mode)
        if winner is not None and space.objective.sign * ((winner.value or 0.0) - budget.target) >= 0:
            return f"the target of {budget.target:g} is reached"
    return None


def is_complete(sweep: SweepFolder, records: Collection[Record]) -> bool:
    """Return whether every run that a sweep asks for has ended: a search may end before its number of trials."""
    ended = [record for record in records if record.state != "running"]
    if len(ended) >= sweep.num_runs:
        return True
    num_baselines = sum(record.run.kind == "baseline" for record in ended)
    if len(ended) < len(records) or num_baselines < sweep.num_runs - sweep.num_trials:
        return False
    return spent_budget(sweep.space, records, seconds_spent(records)) is not None
