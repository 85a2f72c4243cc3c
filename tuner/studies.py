"""The Optuna studies of a sweep, and what they and the runs' folders say of every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.sections import Objective
from tuner.records import Kind, Record, Run, State, read_metrics
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
    if not sweep.journal.exists():
        return []
    storage = JournalStorage(JournalFileBackend(str(sweep.journal)))
    there = {study.study_name for study in storage.get_all_studies()}
    return [
        record_of(sweep, kind, frozen)
        for kind in kinds
        if _STUDIES[kind] in there
        for frozen in optuna.load_study(study_name=_STUDIES[kind], storage=storage).get_trials(deepcopy=False)
        if "settings" in frozen.user_attrs and frozen.state in STATES
    ]


def read_attributes(sweep: Sweep, study: str) -> dict[str, Any]:
    """Return what is written of a whole study; nothing where it has not begun. Reads only."""
    if not sweep.journal.exists():
        return {}
    storage = JournalStorage(JournalFileBackend(str(sweep.journal)))
    found = {each.study_name: each._study_id for each in storage.get_all_studies()}
    return storage.get_study_user_attrs(found[study]) if study in found else {}


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
    if kind == "confirm":
        configuration, seed = frozen.user_attrs["configuration"], frozen.user_attrs["settings"]["seed"]
        return f"{configuration}.seed{seed}", sweep.folder / "confirm" / configuration / f"seed-{seed}"
    return f"trial-{frozen.number:04d}", sweep.folder / "trials" / f"{frozen.number:04d}"
