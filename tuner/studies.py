"""The Optuna studies of a sweep, and what they and the runs' folders say of every run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.storages import BaseStorage, JournalStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.sections import Objective
from tuner.budgets import is_complete
from tuner.journal import JournalReader
from tuner.records import Kind, Record, Run, State, read_metrics
from tuner.suggest import build_pruner
from tuner.sweep import Sweep

optuna.logging.set_verbosity(optuna.logging.WARNING)

SweepState = Literal["running", "interrupted", "completed", "failed"]
ALL_FAILED = "every run has failed"
SEARCH, BASELINES, PRUNING = "search", "baselines", "pruning"
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
GAVE_UP = "gave_up"  # attribute of the search's study: why the last driver gave the sweep up, empty if it did not
ENDED_S = "ended_s"  # attribute of a trial: see `Record.ended_s`


def create_study(
    storage: BaseStorage, name: str, objectives: Sequence[Objective], pruner: BasePruner | None = None
) -> Study:
    """Return the study of that name, made if it is not there."""
    directions = [StudyDirection.MAXIMIZE if one.mode == "max" else StudyDirection.MINIMIZE for one in objectives]
    return optuna.create_study(
        study_name=name,
        storage=storage,
        directions=directions,
        pruner=pruner or NopPruner(),
        load_if_exists=True,
    )


def create_pruning_study(storage: BaseStorage, sweep: Sweep, search: Study) -> Study:
    """Return the study that takes the trials' reports and prunes them.

    That is the search's own, unless trials are pruned on something else than its one objective: then one beside it,
    whose trials have the same numbers.
    """
    space = sweep.space
    if list(space.objectives) == [space.prune_on]:
        search.pruner = build_pruner(space)
        return search
    return create_study(storage, PRUNING, [space.prune_on], build_pruner(space))


def read_records(sweep: Sweep) -> list[Record]:
    """Return what the ledger says of every run, baselines first. Reads only; a sweep may be running meanwhile."""
    if not sweep.journal.exists():
        return []
    storage = JournalStorage(JournalReader(sweep.journal))
    there = {study.study_name for study in storage.get_all_studies()}
    kinds: list[tuple[Kind, str]] = [("baseline", BASELINES), ("trial", SEARCH)]
    return [
        record_of(sweep, kind, frozen)
        for kind, study_name in kinds
        if study_name in there
        for frozen in optuna.load_study(study_name=study_name, storage=storage).get_trials(deepcopy=False)
        if "settings" in frozen.user_attrs and frozen.state in STATES
    ]


def all_failed(records: Collection[Record]) -> bool:
    """Return whether not one of the runs that there are could be trained."""
    return bool(records) and all(record.state == "failed" for record in records)


def state_of(sweep: Sweep, records: Sequence[Record], *, is_locked: bool | None = None) -> tuple[SweepState, str]:
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
    if not sweep.journal.exists():
        return ""
    storage = JournalStorage(JournalReader(sweep.journal))
    attributes = {study.study_name: study.user_attrs for study in optuna.get_all_study_summaries(storage)}
    reason: str = attributes.get(SEARCH, {}).get(GAVE_UP, "")
    return reason


def record_of(sweep: Sweep, kind: Kind, frozen: FrozenTrial) -> Record:
    """Return what is known of one run, its last metrics among it."""
    key, folder = _place(sweep, kind, frozen)
    rows = read_metrics(folder)
    return Record(
        run=Run(key, kind, frozen.number, frozen.user_attrs["settings"], folder),
        state=STATES[frozen.state],
        metrics=rows[-1] if rows else {},
        value=frozen.values[0] if frozen.state == TrialState.COMPLETE else None,
        feasible=all(violation <= 0 for violation in frozen.constraints.values()),
        reason=frozen.user_attrs.get("reason"),
        ended_s=frozen.user_attrs.get(ENDED_S),
    )


def _place(sweep: Sweep, kind: Kind, frozen: FrozenTrial) -> tuple[str, Path]:
    if kind == "baseline":
        name: Any = frozen.user_attrs["name"]
        return f"baseline-{name}", sweep.folder / "baselines" / name
    return f"trial-{frozen.number:04d}", sweep.folder / "trials" / f"{frozen.number:04d}"
