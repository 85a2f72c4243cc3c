"""Replays a sweep's learning curves with another pruner, to see what it would have saved and lost.

Every report of the sweep's trials is given, in the original order, to a study in memory with the other pruner. The
curve of a trial that the sweep's own pruner stopped ends where it was stopped.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState
from pydantic import ValidationError

from search_spaces.errors import explain
from search_spaces.parsing.yaml_document import parse
from search_spaces.schema import Space
from search_spaces.sections import Pruner
from tuner.errors import UserError
from tuner.search.samplers import build_pruner
from tuner.search.sampling.several_objectives import report_attribute, reported_objectives
from tuner.sweep.ranking import best
from tuner.sweep.reader import PRUNING, SEARCH
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Rows, Snapshot

_Report = tuple[float, int, Mapping[str, float]]  # time, number of the trial, metrics


def read_pruner(text: str) -> Pruner:
    """Return the pruner that a text describes, as under ``search.pruner`` of a space.

    Raises:
        UserError: the text describes no pruner.
    """
    document = parse(text)
    try:
        if document.mistakes:
            raise UserError(f"--pruner {text}: {document.mistakes[0].message}")
        return Pruner.model_validate(document.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        reasons = (".".join([*map(str, mistake["loc"]), ""]) + " " + explain(mistake) for mistake in errors)
        raise UserError(f"--pruner {text}: {'; '.join(map(str.strip, reasons))}") from error


@dataclass(frozen=True)
class KeptTrial:
    """A trial and its value of the first objective."""

    run: str
    value: float | None


@dataclass(frozen=True)
class Replay:
    """What another pruner would have made of a sweep's trials.

    Attributes:
        sweep: its name.
        pruner: the pruner's settings, or ``none``.
        metric: the first objective.
        trials: number of trials that reported.
        pruned: number of these that the pruner stops.
        complete: number of complete trials.
        complete_pruned: number of these that the pruner stops.
        censored: number of trials that the sweep pruned and the pruner would not, at an unknown cost.
        compute: epochs of standard training that all trials took.
        saved: how many of these the pruner saves.
        best: the sweep's best trial; None if none is eligible.
        kept: the best of the trials that the pruner lets run to the end; None if none is eligible.
    """

    sweep: str
    pruner: dict[str, object] | str
    metric: str
    trials: int
    pruned: int
    complete: int
    complete_pruned: int
    censored: int
    compute: float
    saved: float
    best: KeptTrial | None
    kept: KeptTrial | None


def replay_trials(snapshot: Snapshot, pruner: Pruner) -> Replay:
    """Return what another pruner would have made of a sweep's trials.

    Args:
        snapshot: of the sweep, with rows.
        pruner: the other pruner.

    Raises:
        UserError: no trial has reported.
    """
    records = {record.run.number: record for record in snapshot.records if record.run.kind == "trial"}
    rows = {number: snapshot.rows[record.run.key] for number, record in records.items()}
    rows = {number: trial_rows for number, trial_rows in rows.items() if trial_rows}
    if not rows:
        raise snapshot.error(f"no trial of {snapshot.name!r} has reported: there is nothing to replay")
    pruned = _pruned(snapshot.space, pruner, records, rows)
    spent = {number: trial_rows[-1]["compute"] for number, trial_rows in rows.items()}
    complete = [records[number] for number in rows if records[number].state == "complete"]
    kept = [record for record in complete if record.run.number not in pruned]
    mode = snapshot.space.objective.mode
    return Replay(
        sweep=snapshot.name,
        pruner=pruner.model_dump(exclude_none=True) or "none",
        metric=snapshot.space.objective.metric,
        trials=len(rows),
        pruned=len(pruned),
        complete=len(complete),
        complete_pruned=len(complete) - len(kept),
        censored=sum(records[number].state == "pruned" and number not in pruned for number in rows),
        compute=sum(spent.values()),
        saved=sum(spent[number] - compute for number, compute in pruned.items()),
        best=_kept_trial(best(complete, mode)),
        kept=_kept_trial(best(kept, mode)),
    )


def replay_sentences(replay: Replay) -> list[str]:
    """Return what a replay shows, in sentences."""
    share = 100 * replay.saved / replay.compute if replay.compute else 0.0
    text = [
        f"It prunes {replay.pruned} of {replay.trials} trials and saves {replay.saved:.1f} of "
        f"{replay.compute:.1f} epochs of compute ({share:.0f} %).",
        f"Of {replay.complete} trials that ran to the end it prunes {replay.complete_pruned}. {_loss(replay)}",
    ]
    if replay.censored:
        text.append(
            f"{replay.censored} trials that the sweep pruned it would have trained longer: nobody knows what that "
            "costs, and whether one of them is better."
        )
    return text


def _loss(replay: Replay) -> str:
    winner, kept = replay.best, replay.kept
    if winner is None:
        return "None of them is feasible, so there is no best one to lose."
    if kept is None:
        return f"Every feasible one is lost, the best ({winner.run}, {replay.metric} {winner.value:.4f}) too."
    if kept == winner:
        return f"The best, {winner.run} ({replay.metric} {winner.value:.4f}), is kept."
    return (
        f"The best, {winner.run} ({replay.metric} {winner.value:.4f}), is lost; the best that is kept is "
        f"{kept.run} ({kept.value:.4f})."
    )


def _kept_trial(record: Record | None) -> KeptTrial | None:
    return None if record is None else KeptTrial(record.run.key, record.value)


def _pruned(space: Space, pruner: Pruner, records: Mapping[int, Record], rows: Mapping[int, Rows]) -> dict[int, float]:
    """Return the trials that the pruner stops, and the compute at which it does."""
    search = space.search.model_copy(update={"pruner": pruner})
    directions = [
        StudyDirection.MAXIMIZE if objective.mode == "max" else StudyDirection.MINIMIZE
        for objective in space.objectives
    ]
    searched = optuna.create_study(directions=directions)  # holds the reports for `prune_on: pareto`
    study = optuna.create_study(
        study_name=SEARCH if space.prunes_on_its_objective else PRUNING,  # Hyperband draws brackets from it
        direction="maximize" if space.prune_on.mode == "max" else "minimize",
        pruner=build_pruner(space.model_copy(update={"search": search}), searched),
    )
    trials, reporting = _start_trials(study, rows), _start_trials(searched, rows)
    pruned: dict[int, float] = {}
    for _, number, row in heapq.merge(*itertools.starmap(_reports, rows.items()), key=lambda report: report[:2]):
        if number in pruned:
            continue
        trial, state, is_last = trials[number], records[number].state, row is rows[number][-1]
        if is_last and state == "complete":  # the last report of all is not shown to the pruner
            study.tell(trial, records[number].value)
            continue
        watched = row.get(space.prune_on.metric)  # None at the end of a run that a killed driver has not ended
        if watched is not None:
            if objectives := reported_objectives(space, row):
                reporting[number].set_user_attr(report_attribute(int(row["step"])), objectives)
            trial.report(watched, int(row["step"]))
        if watched is not None and trial.should_prune():
            pruned[number] = row["compute"]
        if number in pruned or (is_last and state != "running"):
            ended_badly = state == "failed" and number not in pruned
            study.tell(trial, state=TrialState.FAIL if ended_badly else TrialState.PRUNED)
    return pruned


def _start_trials(study: optuna.Study, rows: Mapping[int, Rows]) -> dict[int, optuna.Trial]:
    """Return a trial of the study for each of the sweep's, with the same number."""
    trials = {number: study.ask() for number in range(max(rows) + 1)}
    for number in trials.keys() - rows.keys():
        study.tell(trials[number], state=TrialState.FAIL)
    return trials


def _reports(number: int, rows: Rows) -> Iterator[_Report]:
    """Yield a trial's reports with their times, which never go back, whatever the clock did."""
    times = itertools.accumulate((row["time"] for row in rows), max)
    return ((when, number, row) for when, row in zip(times, rows, strict=True))
