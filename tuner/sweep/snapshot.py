"""A sweep's folder at one moment: read once, so that every table, figure and sentence of a command agrees."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from search_spaces.schema import Space
from trainables.common.process_state import garbage_collection_paused
from tuner.errors import UserError
from tuner.storage.driver_lock import OWNER, Driver, read_owner
from tuner.storage.journal import replaying
from tuner.storage.recorded_files import STUDY as FILES
from tuner.storage.recorded_files import check_newest
from tuner.sweep import confirmation
from tuner.sweep.confirmation import Confirmation, read_confirmation
from tuner.sweep.control import Phase, read_phase
from tuner.sweep.evaluations import EvaluationResults, read_evaluation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.provenance import FILE as PROVENANCE
from tuner.sweep.ranking import best, best_trials
from tuner.sweep.reader import (
    CONFIRM,
    CONFIRMED,
    NUM_TRIALS,
    SEARCH,
    StudyContent,
    check_num_trials,
    damaged_record,
    ended_or_running,
    make_record,
    read_studies,
    run_of,
    verify_reports,
)
from tuner.sweep.runs import Kind, Record, check_no_report_lost, read_last_metrics, read_metrics
from tuner.sweep.state import GAVE_UP, SweepState, state_of_records

Rows = Sequence[Mapping[str, float]]
_Content = TypeVar("_Content")
_RUN_FOLDER = re.compile(r"\d{4,}")


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
        damaged: what is wrong with a file and what to do, by the key of the run that it belongs to, or by its name. The
            record of such a run has no metrics but those that the study knows.
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
    damaged: Mapping[str, str] = field(default_factory=dict)

    def outcome_of(self, record: Record) -> str:
        """Return how a run of it stands, as a person wants to know it.

        See `Record.outcome`; a run that has begun, but that no driver works on, is ``unfinished``.
        """
        is_at_work = self.state == "running" and self.phase != "paused"
        return "unfinished" if record.state == "running" and not is_at_work else record.outcome

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files of the sweep, and what to do about it."""
        return tuple(self.damaged.values())

    def require_whole(self) -> None:
        """Check that no file is damaged.

        Raises:
            UserError: one is; the message names all.
        """
        if self.damaged:
            raise UserError("\n".join(self.damaged.values()))

    def error(self, text: str) -> UserError:
        """Return an error about what the sweep lacks; damaged files, which may be the reason, are named behind it."""
        return UserError("\n".join((text, *self.problems)))

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


@garbage_collection_paused()
def read_snapshot(
    sweep: SweepFolder, *, is_locked: bool | None = None, with_rows: bool = False, with_evaluations: bool = False
) -> Snapshot:
    """Read a sweep's folder once; a driver may be writing meanwhile.

    Args:
        sweep: the sweep.
        is_locked: whether a driver is at work, for callers who know; by default the sweep's lock tells.
        with_rows: keep the metrics of all reports, not only of each run's last one.
        with_evaluations: read the results of the tier ``final``, too.

    Returns:
        The content of the folder. What is damaged is left out and named in ``damaged``.

    Raises:
        UserError: the study is damaged, or its database cannot be reached.
    """
    is_running = sweep.is_running() if is_locked is None else is_locked  # before the records: they may end meanwhile
    found = _Damage()
    studies = read_studies(sweep, None if is_running else lambda text: found.add(sweep.journal.name, text))
    sweep.store.pull(sweep.folder)  # afterwards: metrics may be newer than the study, never older
    rows: dict[str, Rows] = {}
    recorded = {} if is_running else _recorded_files(sweep, studies)  # a driver may just be writing one
    records: dict[Kind, list[Record]] = {"baseline": [], "trial": [], "confirm": []}
    for kind, trial in ended_or_running(studies, tuple(records)):
        with replaying(sweep.study_place):
            run = run_of(sweep, kind, trial)
        if of_run := recorded.get(run.folder):
            run = replace(run, evaluations=of_run)
        try:
            if with_rows:
                rows[run.key] = read_metrics(run)
                verify_reports(sweep, run, trial, rows[run.key])
            metrics = (rows[run.key][-1] if rows[run.key] else {}) if with_rows else read_last_metrics(run)
            if not (is_running or trial.state.is_finished()):
                check_no_report_lost(run, metrics, trial.last_step or 0)
            record = make_record(sweep, run, trial, metrics)
        except (UserError, OSError) as error:
            found.add(run.key, str(error))
            rows[run.key], record = [], damaged_record(sweep, run, trial)
        records[kind].append(record)
    searched = (*records["baseline"], *records["trial"])
    gave_up = studies[SEARCH].attributes.get(GAVE_UP, "") if SEARCH in studies else ""
    confirmed = studies[CONFIRM].attributes.get(CONFIRMED) if CONFIRM in studies else None
    driver = found.look(OWNER, lambda: read_owner(sweep.folder, sweep.id), None) if is_running else None
    state, reason = state_of_records(sweep, searched, is_running=is_running, gave_up=gave_up)
    snapshot = Snapshot(
        sweep=sweep,
        records=searched,
        confirming_records=tuple(records["confirm"]),
        confirmation=found.look(confirmation.FILE, lambda: read_confirmation(sweep, confirmed), None),
        state=state,
        reason=reason,
        phase=found.look("phase.json", lambda: read_phase(sweep), "running"),
        driver=driver,
        driven_since=(sweep.folder / OWNER).stat().st_mtime if driver else 0.0,
        time=time.time(),
        rows=rows if with_rows else {},
        evaluations=_read_evaluations(searched, found) if with_evaluations else {},
        damaged=found.problems,
    )
    if PROVENANCE in (of_sweep := recorded.get(sweep.folder, {})):
        found.look(PROVENANCE, lambda: check_newest(sweep.folder / PROVENANCE, of_sweep[PROVENANCE]), None)
    asked = studies[SEARCH].attributes.get(NUM_TRIALS) if SEARCH in studies else None
    _compare(snapshot, found, asked if isinstance(asked, int) else 0, is_running)
    return snapshot


def snapshot_of_records(sweep: SweepFolder, records: Sequence[Record], state: SweepState) -> Snapshot:
    """Return what a driver knows of its sweep, without reading a run.

    Args:
        sweep: the sweep.
        records: the runs of the search.
        state: of the sweep.
    """
    return Snapshot(
        sweep=sweep,
        records=tuple(sorted(records, key=lambda record: (record.run.kind, record.run.number))),
        confirming_records=(),
        confirmation=_Damage().look("confirm.json", lambda: read_confirmation(sweep), None),
        state=state,
        reason="",
        phase="running",
        driver=None,
        driven_since=0.0,
        time=time.time(),
    )


class _Damage:
    """What was found damaged while a sweep was read."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}

    def add(self, name: str, text: str) -> None:
        """Add what is wrong with a run or a file to what is known of it."""
        self.problems[name] = f"{self.problems[name]}\n{text}" if name in self.problems else text

    def look(self, name: str, read: Callable[[], _Content], default: _Content) -> _Content:
        """Return what is read; if it is damaged, the default."""
        try:
            return read()
        except UserError as error:
            self.add(name, str(error))
        except OSError as error:
            self.add(name, f"{name} cannot be read: {error}")
        return default


def _compare(snapshot: Snapshot, found: _Damage, asked: int, is_running: bool) -> None:
    """Find what files of a sweep that are undamaged each say differently."""
    sweep = snapshot.sweep
    num_trials = sum(record.run.kind == "trial" for record in snapshot.records)
    found.look("sweep.json", lambda: check_num_trials(sweep, asked, num_trials), None)
    known = {record.run.folder for record in (*snapshot.records, *snapshot.confirming_records)}
    unknown = [] if is_running else _unknown_runs(sweep, known)
    if unknown:
        found.add(
            sweep.journal.name,
            f"{unknown[0]} holds a run that the study in {sweep.study_place} does not know (folders like it: "
            f"{len(unknown)}): the study is an older copy or has lost lines; put the newer one in its place",
        )


def _unknown_runs(sweep: SweepFolder, known: Collection[Path]) -> list[Path]:
    """Return the folders of runs that have reported, other than those that the study knows."""
    folders = [path for path in sweep.folder.glob("trials/*") if _RUN_FOLDER.fullmatch(path.name)]
    folders += [*sweep.folder.glob("baselines/*"), *sweep.folder.glob("confirm/*/seed-*")]
    folders = [folder for folder in folders if ".aside-" not in folder.name]  # what was moved aside is of no run
    return sorted(folder for folder in folders if folder not in known and (folder / "metrics.jsonl").exists())


def _recorded_files(sweep: SweepFolder, studies: Mapping[str, StudyContent]) -> dict[Path, dict[str, str]]:
    """Return the digests of files by their folders and names."""
    digests: dict[Path, dict[str, str]] = {}
    for name, digest in studies[FILES].attributes.items() if FILES in studies else ():
        path = sweep.folder / name
        digests.setdefault(path.parent, {})[path.name] = str(digest)
    return digests


def _read_evaluations(records: Sequence[Record], found: _Damage) -> dict[str, EvaluationResults]:
    results = {}
    for record in records:
        result = found.look(record.run.key, functools.partial(read_evaluation, record.run), None)
        if result is not None:
            results[record.run.key] = result
    return results
