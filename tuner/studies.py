"""The Optuna studies of a sweep, and what they and the runs' folders say of every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.sections import Objective
from trainables import working_copy
from tuner.records import Kind, Record, Run, State, read_metrics
from tuner.storage import open_reader
from tuner.suggest import build_pruner
from tuner.sweep import Sweep

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


def read_records(sweep: Sweep, kinds: Sequence[Kind] = ("baseline", "trial")) -> list[Record]:
    """Return what the ledger says of every run, baselines first. Reads only; a sweep may be running meanwhile."""
    working_copy.pull(sweep.folder)
    studies = _read_studies(sweep)
    return [
        record_of(run_of(sweep, kind, trial), trial)
        for kind in kinds
        if _STUDIES[kind] in studies
        for trial in studies[_STUDIES[kind]].get_trials(deepcopy=False)
        if "settings" in trial.user_attrs and trial.state in STATES
    ]


def read_attributes(sweep: Sweep, study: str) -> dict[str, Any]:
    """Return what is written of a whole study; nothing where it has not begun. Reads only."""
    studies = _read_studies(sweep)
    return studies[study].user_attrs if study in studies else {}


def _read_studies(sweep: Sweep) -> dict[str, Study]:
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


def run_of(sweep: Sweep, kind: Kind, trial: FrozenTrial) -> Run:
    """Return the run that a trial of a study stands for."""
    if kind == "baseline":
        name: str = trial.user_attrs["name"]
        key, folder = f"baseline-{name}", sweep.folder / "baselines" / name
    elif kind == "confirm":
        configuration, seed = trial.user_attrs["configuration"], trial.user_attrs["settings"]["seed"]
        key, folder = f"{configuration}.seed{seed}", sweep.folder / "confirm" / configuration / f"seed-{seed}"
    else:
        key, folder = f"trial-{trial.number:04d}", sweep.folder / "trials" / f"{trial.number:04d}"
    return Run(key, kind, trial.number, trial.user_attrs["settings"], folder)
