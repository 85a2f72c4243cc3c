"""The state of a sweep (running, interrupted, completed or failed), and the budgets that end its search."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from search_spaces.schema import Space
from trainables.evaluation.metrics import metric_named
from tuner.statistics import image_noise
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best
from tuner.sweep.runs import Record, num_images

SweepState = Literal["running", "interrupted", "completed", "failed"]
CONVERGED = 0.1
"""With `budget.until`, a search ends when the chance of an improvement is no more than this."""
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


def spent_budget(
    space: Space, records: Collection[Record], seconds: float, convergence: Convergence | None = None
) -> str | None:
    """Return which budget, other than the number of trials, lets no new trial begin; None while none does.

    Args:
        space: with the budgets.
        records: of all runs.
        seconds: for which drivers have worked on the sweep.
        convergence: of these records, if the caller keeps it; by default it is made from them.
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
    if budget.until is not None:
        chance = (convergence or Convergence(space, records)).chance
        if chance <= CONVERGED:
            return _chance_sentence(chance)
    return None


class Convergence:
    """The chance that as much compute as one full trial takes leads to something better by more than noise.

    Improvements are taken for a Poisson process in the compute that trials spend, at a rate that is unknown: after the
    compute of k full trials without one, the next full trial has one with a chance of 1 / (k + 2), as by Laplace's
    rule of succession (the prior of the rate is exponential, its mean one a trial). An improvement is an eligible trial
    that is better than the last one by more than the standard error of such a difference, from the choice of images.
    Trials that were stopped or have failed count with what they have spent. It follows from the records alone, in the
    order in which the trials have ended.

    Args:
        space: of the sweep.
        records: of all runs so far.
    """

    def __init__(self, space: Space, records: Collection[Record] = ()) -> None:
        self._space = space
        self._ended: list[Record] = []
        self._known: float | None = None
        self._spent = 0.0
        self._add_all(records)

    def add(self, record: Record) -> None:
        """Take in a run that has ended; only trials count."""
        if not _is_ended_trial(record):
            return
        if self._ended and _order_of_end(record) < _order_of_end(self._ended[-1]):  # within the same millisecond
            ended = [*self._ended, record]
            self._ended, self._known, self._spent = [], None, 0.0
            self._add_all(ended)
            return
        self._ended.append(record)
        if _is_better(self._space, record, self._known):
            self._known, self._spent = record.value, 0.0
        else:
            self._spent += record.metrics.get("compute", 0.0) / self._space.budget.compute

    @property
    def chance(self) -> float:
        """The chance; 1 as long as no trial is eligible."""
        return 1.0 if self._known is None else 1 / (self._spent + 2)

    def _add_all(self, records: Iterable[Record]) -> None:
        for record in sorted(filter(_is_ended_trial, records), key=_order_of_end):
            self.add(record)


def convergence_sentence(space: Space, records: Collection[Record]) -> str:
    """Return how probable something better is, in words."""
    return _chance_sentence(Convergence(space, records).chance)


def _chance_sentence(chance: float) -> str:
    percent = f"{100 * chance:.0f} %"
    return f"the chance that another full trial's compute leads to something better than noise is {percent}"


def _is_ended_trial(record: Record) -> bool:
    return record.run.kind == "trial" and record.state != "running"


def _order_of_end(record: Record) -> tuple[float, int]:
    return record.ended_s or 0.0, record.run.number


def _is_better(space: Space, record: Record, known: float | None) -> bool:
    """Return whether a trial is eligible, and better than a known value by more than the noise of the two."""
    if record.state != "complete" or not record.feasible or record.value is None:
        return False
    if known is None:
        return True
    images = num_images(record.run.settings, ranked=True)
    is_share = metric_named(space.objective.metric).is_share
    noise = image_noise(record.value, known, images) if is_share else 0.0
    return space.objective.sign * (record.value - known) > noise


def is_complete(sweep: SweepFolder, records: Collection[Record]) -> bool:
    """Return whether every run that a sweep asks for has ended: a search may end before its number of trials."""
    ended = [record for record in records if record.state != "running"]
    if len(ended) >= sweep.num_runs:
        return True
    num_baselines = sum(record.run.kind == "baseline" for record in ended)
    if len(ended) < len(records) or num_baselines < sweep.num_runs - sweep.num_trials:
        return False
    return spent_budget(sweep.space, records, seconds_spent(records)) is not None
