"""Which run of a sweep a command means: one by its name, or the best."""

from __future__ import annotations

from tuner.errors import UserError
from tuner.sweep.confirmation import read_confirmation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best, explain_no_best
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record, State, baseline_key


def choose(sweep: SweepFolder, key: str | None, states: tuple[State, ...] = ("complete",)) -> Record:
    """Return the run of that key, or the best one: of a confirmed sweep, the middle one of the winner's runs.

    Args:
        sweep: that the run belongs to.
        key: of the run (``trial-0003``, ``3``, ``fgsm_retraining``, ``trial-0003.seed100000``).
        states: that a run may be in to be taken.

    Raises:
        UserError: there is no such run, or it is in another state.
    """
    records = read_records(sweep, ["baseline", "trial", "confirm"])
    if key is None:
        confirmation = read_confirmation(sweep)
        key = confirmation.run if confirmation else None
    if key is None:
        winner = best(records, sweep.space.objective.mode)
        if winner is None:
            raise UserError(
                f"{sweep.name}: {explain_no_best(records)} `tuner resume {sweep.name}` goes on, --run exports another"
            )
        return winner
    keys = {key, f"trial-{key:0>4}", baseline_key(key)}
    for record in records:
        if record.run.key in keys:
            if record.state not in states:
                raise UserError(
                    f"{record.run.key} of {sweep.name!r} is {record.state}; it must be {' or '.join(states)} for this"
                )
            return record
    raise UserError(f"no run {key!r} in {sweep.name!r}; its runs: {', '.join(record.run.key for record in records)}")
