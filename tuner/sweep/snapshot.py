"""A sweep's folder at one moment: read once, so that every table, figure and sentence of a command agrees."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from search_spaces.schema import Space
from tuner.sweep.confirmation import Confirmation, read_confirmation
from tuner.sweep.control import Phase, phase_of
from tuner.sweep.evaluations import EvaluationResults, read_evaluation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best, best_trials
from tuner.sweep.reader import SEARCH, ended_or_running, make_record, read_studies, run_of, verify_reports
from tuner.sweep.runs import Kind, Record, read_last_metrics, read_metrics
from tuner.sweep.state import GAVE_UP, SweepState, state_of_records

Rows = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Driver:
    """The process that drives a sweep; the content of ``owner.json``."""

    format: int
    pid: int
    host: str


@dataclass(frozen=True)
class Snapshot:
    """What a sweep's folder says at one moment.

    Attributes:
        sweep: the sweep.
        records: the runs of the search: baselines, then trials, in the order of their numbers.
        confirming_records: the runs of the stage of confirming.
        confirmation: the result of that stage; None if it has none.
        state: of the sweep.
        reason: why the sweep failed; empty if it did not.
        phase: of its driver, as the driver last wrote it.
        driver: the process that holds the lock; None if the sweep is not running.
        driven_since: when that process began, in Unix seconds; 0 if the sweep is not running.
        time: when it was read, in Unix seconds.
        rows: the metrics of every report of a run, by the run's key; empty unless they were asked for.
        evaluations: results of the tier ``final`` by the run's key; empty unless they were asked for.
    """

    sweep: SweepFolder
    records: tuple[Record, ...]
    confirming_records: tuple[Record, ...]
    confirmation: Confirmation | None
    state: SweepState
    reason: str
    phase: Phase
    driver: Driver | None
    driven_since: float
    time: float
    rows: Mapping[str, Rows] = field(default_factory=dict)
    evaluations: Mapping[str, EvaluationResults] = field(default_factory=dict)

    @property
    def space(self) -> Space:
        """The search space."""
        return self.sweep.space

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.sweep.name

    @cached_property
    def best(self) -> Record | None:
        """The eligible trial with the best value of the first objective; None if no trial is eligible."""
        return best(self.records, self.space.objective.mode)

    @property
    def best_trials(self) -> list[Record]:
        """The best trial, if any; with several objectives the Pareto front, sorted by the first one."""
        return best_trials(self.space, self.records)


def read_snapshot(
    sweep: SweepFolder, *, is_locked: bool | None = None, with_rows: bool = False, with_evaluations: bool = False
) -> Snapshot:
    """Read a sweep's folder once; a driver may be writing meanwhile.

    Args:
        sweep: the sweep.
        is_locked: whether a driver is at work, for callers who know; by default the sweep's lock tells.
        with_rows: keep the metrics of all reports, not only of each run's last one.
        with_evaluations: read the results of the tier ``final``, too.

    Raises:
        UserError: a file is damaged or of another release, or the study's database cannot be reached.
    """
    is_running = sweep.is_running() if is_locked is None else is_locked  # before the records: they may end meanwhile
    studies = read_studies(sweep)
    sweep.store.pull(sweep.folder)  # afterwards: metrics may be newer than the study, never older
    rows: dict[str, Rows] = {}
    records: dict[Kind, list[Record]] = {"baseline": [], "trial": [], "confirm": []}
    for kind, trial in ended_or_running(studies, tuple(records)):
        run = run_of(sweep, kind, trial)
        if with_rows:
            rows[run.key] = read_metrics(run)
            verify_reports(sweep, run, trial, rows[run.key])
        metrics = (rows[run.key][-1] if rows[run.key] else {}) if with_rows else read_last_metrics(run)
        records[kind].append(make_record(sweep, run, trial, metrics))
    searched = (*records["baseline"], *records["trial"])
    gave_up = studies[SEARCH].attributes.get(GAVE_UP, "") if SEARCH in studies else ""
    driver, driven_since = _read_driver(sweep) if is_running else (None, 0.0)
    state, reason = state_of_records(sweep, searched, is_running=is_running, gave_up=gave_up)
    return Snapshot(
        sweep=sweep,
        records=searched,
        confirming_records=tuple(records["confirm"]),
        confirmation=read_confirmation(sweep),
        state=state,
        reason=reason,
        phase=phase_of(sweep),
        driver=driver,
        driven_since=driven_since,
        time=time.time(),
        rows=rows,
        evaluations=_read_evaluations(searched) if with_evaluations else {},
    )


def _read_driver(sweep: SweepFolder) -> tuple[Driver | None, float]:
    path = sweep.folder / "owner.json"
    try:
        return Driver(**json.loads(path.read_bytes())), path.stat().st_mtime
    except FileNotFoundError:
        return None, 0.0


def _read_evaluations(records: Sequence[Record]) -> dict[str, EvaluationResults]:
    results = {record.run.key: read_evaluation(record.run.folder) for record in records}
    return {key: result for key, result in results.items() if result is not None}
