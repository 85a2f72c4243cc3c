"""Chooses the run that a command is about: one by its name, or the best."""

from __future__ import annotations

from search_spaces.errors import nearest
from trainables.common.words import counted
from trainables.evaluation.metrics import metric_named
from tuner.errors import UserError
from tuner.results.terminal.confirmation import confirmation_sentences
from tuner.search.confirmation import best_configurations
from tuner.sweep.ranking import explain_no_best
from tuner.sweep.runs import Record, State, baseline_key, num_images
from tuner.sweep.snapshot import Snapshot

_MAX_NAMES = 12  # in a message


def choose_run(snapshot: Snapshot, key: str | None, states: tuple[State, ...] = ("complete",)) -> Record:
    """Return a run by its key, or the best one: the best trial, or of a confirmed sweep the winner's median run.

    Args:
        snapshot: of the sweep.
        key: of the run (``trial-0003``, ``3``, ``fgsm_retraining``, ``trial-0003.seed100000``); None for the best one.
        states: that the run may be in.

    Raises:
        UserError: there is no such run, it is in another state, or a file by which it is chosen is damaged.
    """
    sweep, confirmation = snapshot.sweep, snapshot.confirmation
    of_runs = {record.run.key for record in (*snapshot.records, *snapshot.confirming_records)}
    problems = [problem for name, problem in snapshot.damaged.items() if name not in of_runs]
    if key is None and problems:
        raise UserError("\n".join(problems))
    if key is None and confirmation is not None:
        key = confirmation.run
    if key is None:
        if snapshot.best is None:
            reason = explain_no_best(snapshot.records)
            raise snapshot.error(f"{sweep.name}: {reason} `tuner resume {sweep.name}` goes on, --run exports another")
        return _undamaged(snapshot, snapshot.best)
    keys = {key, f"trial-{key.removeprefix('trial-'):0>4}", baseline_key(key)}
    records = (*snapshot.records, *snapshot.confirming_records)
    for record in records:
        if record.run.key in keys:
            if record.state not in states:
                state = snapshot.outcome_of(record) if record.state == "running" else record.state
                raise snapshot.error(
                    f"{record.run.key} of {sweep.name!r} is {state}; it must be {' or '.join(states)} for this"
                )
            return _undamaged(snapshot, record)
    names = [record.run.name for record in records]
    listed = ", ".join(names[:_MAX_NAMES]) or "none"
    more = f" and {counted(len(names) - _MAX_NAMES, 'other')}" if len(names) > _MAX_NAMES else ""
    hint = nearest(key, names)
    raise snapshot.error(f"no run {key!r} in {sweep.name!r}{f'{hint} Its' if hint else '; its'} runs: {listed}{more}")


def choose_top(snapshot: Snapshot, number: int | None = None) -> list[Record]:
    """Return the best trials of different configurations, the best first; with several objectives, of the front.

    Args:
        snapshot: of the sweep.
        number: how many at most, at least 1; None for the whole front of a sweep with several objectives.

    Raises:
        UserError: there is no front, no trial has ended as it should, or a file by which they are chosen is damaged.
    """
    snapshot.require_whole()
    if number is None and len(snapshot.space.objectives) == 1:
        how = f"`tuner export {snapshot.name} --top N` writes its best trials"
        raise UserError(f"{snapshot.name} has one objective, and so no front: {how}")
    names = [each.name for each in best_configurations(snapshot.space, snapshot.records)][:number]
    if not names:
        raise UserError(f"{snapshot.name}: {explain_no_best(snapshot.records)}")
    by_key = {record.run.key: record for record in snapshot.records}
    return [by_key[name] for name in names]


def describe_choice(snapshot: Snapshot, record: Record) -> list[str]:
    """Return in sentences why a run is the best of its sweep, and how sure that is, as far as it has been found out.

    Args:
        snapshot: of the sweep.
        record: what `choose_run` returns for it.
    """
    confirmation, run = snapshot.confirmation, record.run
    said = [] if confirmation is None else confirmation_sentences(confirmation)
    if confirmation is not None and confirmation.run == run.key:
        return [*said, f"The weights are those of {run.key}, the run with the median objective."]
    metric, images = metric_named(snapshot.space.objective.metric), num_images(run.settings, ranked=True)
    value = record.value or 0.0
    measured = f"{100 * value:.1f} %" if metric.is_share else f"{value:.3f}"
    said += [
        f"{run.key} ({run.label}) is the best trial of the search: {metric.label} {measured}, measured on the "
        f"{images:,} validation images by which it was chosen."
    ]
    if confirmation is None:
        said += [f"Not confirmed: `tuner confirm {snapshot.name}` trains it again, with fresh seeds, on test images."]
    return said


def _undamaged(snapshot: Snapshot, record: Record) -> Record:
    if record.is_damaged:
        raise UserError(snapshot.damaged[record.run.key])
    return record
