"""The Optuna studies of a sweep, and what they and the runs' folders say of every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.journal import Journal, JournalReader, JournalWriter
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Kind, Record, Run, State, baseline_key, read_metrics

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock

optuna.logging.set_verbosity(optuna.logging.WARNING)

SEARCH, BASELINES, PRUNING, CONFIRM = "search", "baselines", "pruning", "confirm"
_STUDIES: dict[Kind, str] = {"trial": SEARCH, "baseline": BASELINES, "confirm": CONFIRM}
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
ENDED_S = "ended_s"  # attribute of a trial: see `Record.ended_s`


def read_records(sweep: SweepFolder, kinds: Sequence[Kind] = ("baseline", "trial")) -> list[Record]:
    """Return what the ledger says of every run, baselines first. Reads only; a sweep may be running meanwhile."""
    sweep.store.pull(sweep.folder)
    studies = _read_studies(sweep)
    return [
        record_of(run_of(sweep, kind, trial), trial)
        for kind in kinds
        if _STUDIES[kind] in studies
        for trial in studies[_STUDIES[kind]].get_trials(deepcopy=False)
        if "settings" in trial.user_attrs and trial.state in STATES
    ]


def read_attributes(sweep: SweepFolder, study: str) -> dict[str, Any]:
    """Return what is written of a whole study; nothing where it has not begun. Reads only."""
    studies = _read_studies(sweep)
    return studies[study].user_attrs if study in studies else {}


def _read_studies(sweep: SweepFolder) -> dict[str, Study]:
    storage = open_reader(sweep)
    if storage is None:
        return {}
    names = [study.study_name for study in storage.get_all_studies()]
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def record_of(run: Run, trial: FrozenTrial) -> Record:
    """Return what a study and the run's folder say of a run."""
    rows = read_metrics(run.folder)
    return Record(
        run=run,
        state=STATES[trial.state],
        metrics=rows[-1] if rows else {},
        value=trial.values[0] if trial.state == TrialState.COMPLETE else None,
        feasible=all(violation <= 0 for violation in trial.constraints.values()),
        reason=trial.user_attrs.get("reason"),
        ended_s=trial.user_attrs.get(ENDED_S),
    )


def run_of(sweep: SweepFolder, kind: Kind, trial: FrozenTrial) -> Run:
    """Return the run that a trial of a study stands for."""
    if kind == "baseline":
        name: str = trial.user_attrs["name"]
        key, folder = baseline_key(name), sweep.folder / "baselines" / name
    elif kind == "confirm":
        configuration, seed = trial.user_attrs["configuration"], trial.user_attrs["settings"]["seed"]
        key, folder = f"{configuration}.seed{seed}", sweep.folder / "confirm" / configuration / f"seed-{seed}"
    else:
        key, folder = f"trial-{trial.number:04d}", sweep.folder / "trials" / f"{trial.number:04d}"
    return Run(key, kind, trial.number, trial.user_attrs["settings"], folder)


def open_writer(sweep: SweepFolder, study_lock: StudyLock | None) -> JournalWriter:
    """Return the journal of a sweep for its only writer.

    Args:
        sweep: whose lock the caller holds.
        study_lock: what `SweepFolder.lock` has returned: needed if a database holds the study.

    Raises:
        UserError: the journal is damaged, or the database cannot be used.
        ValueError: a database holds the study, and its lock is not given.
    """
    if sweep.study_storage is None:
        return Journal(sweep.journal)
    from tuner.storage.postgres_journal import DatabaseJournal

    if study_lock is None or study_lock.sweep_id != sweep.id:
        raise ValueError(
            f"the study of {sweep.name!r} is in a database: writing it needs the lock that `sweep.lock` has returned"
        )
    return DatabaseJournal(study_lock)


def open_reader(sweep: SweepFolder) -> JournalStorage | None:
    """Return the studies of a sweep to be read, None where none has begun; a driver may be writing meanwhile.

    Whoever keeps it reads only what is new at each look.

    Raises:
        UserError: it is damaged, or its database cannot be reached.
    """
    if sweep.study_storage is not None:
        from tuner.storage.postgres_journal import DatabaseReader

        return JournalStorage(DatabaseReader(sweep.study_storage, sweep.id))
    return JournalStorage(JournalReader(sweep.journal)) if sweep.journal.exists() else None
