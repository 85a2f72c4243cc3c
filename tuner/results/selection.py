"""Chooses the run that a command is about: one by its name, or the best."""

from __future__ import annotations

from tuner.errors import UserError
from tuner.sweep.ranking import explain_no_best
from tuner.sweep.runs import Record, State, baseline_key
from tuner.sweep.snapshot import Snapshot


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
            raise UserError(f"{sweep.name}: {reason} `tuner resume {sweep.name}` goes on, --run exports another")
        return _undamaged(snapshot, snapshot.best)
    keys = {key, f"trial-{key:0>4}", baseline_key(key)}
    records = (*snapshot.records, *snapshot.confirming_records)
    for record in records:
        if record.run.key in keys:
            if record.state not in states:
                raise UserError(
                    f"{record.run.key} of {sweep.name!r} is {record.state}; it must be {' or '.join(states)} for this"
                )
            return _undamaged(snapshot, record)
    raise UserError(f"no run {key!r} in {sweep.name!r}; its runs: {', '.join(record.run.key for record in records)}")


def _undamaged(snapshot: Snapshot, record: Record) -> Record:
    if record.is_damaged:
        raise UserError(snapshot.damaged[record.run.key])
    return record
