"""Past learning curves through another pruner: what would it have saved, and what lost?

Every trial reports again what it reported then, in the order of that time, to a study in memory whose pruner is the
other one. Trials that the sweep's own pruner stopped are known only as far as they went.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.trial import TrialState
from pydantic import ValidationError

from search_spaces.errors import explain
from search_spaces.parsing.yaml_document import parse
from search_spaces.sections import Pruner
from tuner.errors import UserError
from tuner.search.samplers import build_pruner
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best
from tuner.sweep.reader import PRUNING, SEARCH, read_records
from tuner.sweep.runs import Record, read_metrics

_Report = tuple[float, int, dict[str, float]]  # when, of which trial, what


def read_pruner(text: str) -> Pruner:
    """Return the pruner that a text describes, as under ``search.pruner`` of a space.

    Raises:
        UserError: it describes none.
    """
    document = parse(text)
    try:
        if document.mistakes:
            raise UserError(f"--pruner {text}: {document.mistakes[0].message}")
        return Pruner.model_validate(document.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        reasons = (".".join([*map(str, one["loc"]), ""]) + " " + explain(one) for one in errors)
        raise UserError(f"--pruner {text}: {'; '.join(map(str.strip, reasons))}") from error


def replay(sweep: SweepFolder, pruner: Pruner) -> dict[str, Any]:
    """Return what another pruner would have made of a sweep's trials, as plain data.

    ``compute`` and what is ``saved`` of it are in epochs of standard training, of all trials together. ``best`` is the
    sweep's best trial, ``kept`` the best of those that the other pruner lets run to the end; either is None if there is
    none. ``censored`` counts trials that it would have trained longer than the sweep did, at an unknown cost.

    Raises:
        UserError: no trial has reported.
    """
    records = {record.run.number: record for record in read_records(sweep) if record.run.kind == "trial"}
    rows = {number: read_metrics(record.run.folder) for number, record in records.items()}
    rows = {number: of_trial for number, of_trial in rows.items() if of_trial}
    if not rows:
        raise UserError(f"no trial of {sweep.name!r} has reported: there is nothing to replay")
    pruned = _pruned(sweep, pruner, records, rows)
    spent = {number: of_trial[-1]["compute"] for number, of_trial in rows.items()}
    saved = sum(spent[number] - compute for number, compute in pruned.items())
    mode = sweep.space.objective.mode
    complete = [records[number] for number in rows if records[number].state == "complete"]
    kept = [record for record in complete if record.run.number not in pruned]
    return {
        "sweep": sweep.name,
        "pruner": pruner.model_dump(exclude_none=True) or "none",
        "metric": sweep.space.objective.metric,
        "trials": len(rows),
        "pruned": len(pruned),
        "complete": len(complete),
        "complete_pruned": len(complete) - len(kept),
        "censored": sum(records[number].state == "pruned" and number not in pruned for number in rows),
        "compute": sum(spent.values()),
        "saved": saved,
        "best": _named(best(complete, mode)),
        "kept": _named(best(kept, mode)),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """Return what `replay` found, for a person."""
    share = 100 * result["saved"] / result["compute"] if result["compute"] else 0.0
    text = [
        f"It prunes {result['pruned']} of {result['trials']} trials and saves {result['saved']:.1f} of "
        f"{result['compute']:.1f} epochs of compute ({share:.0f} %).",
        f"Of {result['complete']} trials that ran to the end it prunes {result['complete_pruned']}. {_loss(result)}",
    ]
    if result["censored"]:
        text.append(
            f"{result['censored']} trials that the sweep pruned it would have trained longer: nobody knows what that "
            "costs, and whether one of them is better."
        )
    return text


def _loss(result: dict[str, Any]) -> str:
    winner, kept = result["best"], result["kept"]
    if winner is None:
        return "None of them is feasible, so there is no best one to lose."
    if kept is None:
        return f"Every feasible one is lost, the best ({winner['run']}, {result['metric']} {winner['value']:.4f}) too."
    if kept == winner:
        return f"The best, {winner['run']} ({result['metric']} {winner['value']:.4f}), is kept."
    return (
        f"The best, {winner['run']} ({result['metric']} {winner['value']:.4f}), is lost; the best that is kept is "
        f"{kept['run']} ({kept['value']:.4f})."
    )


def _named(record: Record | None) -> dict[str, Any] | None:
    return None if record is None else {"run": record.run.key, "value": record.value}


def _pruned(
    sweep: SweepFolder, pruner: Pruner, records: dict[int, Record], rows: dict[int, list[dict[str, float]]]
) -> dict[int, float]:
    """Return the trials that the pruner stops, and the compute at which it does."""
    space = sweep.space
    search = space.search.model_copy(update={"pruner": pruner})
    study = optuna.create_study(
        study_name=SEARCH if space.objectives == (space.prune_on,) else PRUNING,  # Hyperband draws brackets from it
        direction="maximize" if space.prune_on.mode == "max" else "minimize",
        pruner=build_pruner(space.model_copy(update={"search": search})),
    )
    trials = _asked(study, rows)
    pruned: dict[int, float] = {}
    for _, number, row in heapq.merge(*itertools.starmap(_reports, rows.items()), key=lambda one: one[:2]):
        if number in pruned:
            continue
        trial, state, is_last = trials[number], records[number].state, row is rows[number][-1]
        value = row[space.prune_on.metric]
        if is_last and state == "complete":  # the last report of all is no more the pruner's
            study.tell(trial, value)
            continue
        trial.report(value, int(row["step"]))
        if trial.should_prune():
            pruned[number] = row["compute"]
        if number in pruned or (is_last and state != "running"):
            ended_badly = state == "failed" and number not in pruned
            study.tell(trial, state=TrialState.FAIL if ended_badly else TrialState.PRUNED)
    return pruned


def _asked(study: optuna.Study, rows: dict[int, list[dict[str, float]]]) -> dict[int, optuna.Trial]:
    """Return a trial of the study for each of the sweep's, with the same number."""
    trials = {number: study.ask() for number in range(max(rows) + 1)}
    for number in trials.keys() - rows.keys():
        study.tell(trials[number], state=TrialState.FAIL)
    return trials


def _reports(number: int, rows: list[dict[str, float]]) -> Iterator[_Report]:
    """Yield a trial's reports with their times, which never go back, whatever the clock did."""
    times = itertools.accumulate((row["time"] for row in rows), max)
    return ((when, number, row) for when, row in zip(times, rows, strict=True))
