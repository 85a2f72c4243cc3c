"""Export: one run as a folder that stands alone: configuration, weights, metrics and where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainables.files import whole_folder, write_json
from tuner.confirmed import main_numbers, read_confirmed
from tuner.errors import UserError
from tuner.records import Record, State, best, num_images, why_none_is_best
from tuner.studies import read_records
from tuner.sweep import Sweep

FORMAT = 1


def choose(sweep: Sweep, key: str | None, states: tuple[State, ...] = ("complete",)) -> Record:
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
        key = (read_confirmed(sweep) or {}).get("run")
    if key is None:
        winner = best(records, sweep.space.objective.mode)
        if winner is None:
            raise UserError(
                f"{sweep.name}: {why_none_is_best(records)} `tuner resume {sweep.name}` goes on, --run exports another"
            )
        return winner
    keys = {key, f"trial-{key:0>4}", f"baseline-{key}"}
    for record in records:
        if record.run.key in keys:
            if record.state not in states:
                raise UserError(
                    f"{record.run.key} of {sweep.name!r} is {record.state}; it must be {' or '.join(states)} for this"
                )
            return record
    raise UserError(f"no run {key!r} in {sweep.name!r}; its runs: {', '.join(record.run.key for record in records)}")


def export(sweep: Sweep, target: Path | None = None, key: str | None = None) -> Path:
    """Write the bundle of a run and return its folder; it appears whole or not at all.

    Args:
        sweep: where the run is.
        target: the folder to make; by default ``exports/<sweep>-<run>`` right here.
        key: of the run (``trial-0003``, ``3``, ``fgsm_retraining``); by default the best trial.

    Raises:
        UserError: there is no such run, the folder is there already or cannot be written.
    """
    record = choose(sweep, key)
    target = (target or Path("exports") / f"{sweep.name}-{record.run.key}").absolute()
    if target.exists():
        raise UserError(f"{target} is there already: remove it or choose another --output")
    from trainables.bundle import write_from_checkpoint
    from trainables.checkpoint import CheckpointError

    try:
        with whole_folder(target) as folder:
            write_from_checkpoint(folder, record.run.settings, record.run.folder / "checkpoint")
            write_account(folder, record.run.settings, record.metrics, _origin(sweep, record))
    except (OSError, CheckpointError) as error:
        raise UserError(f"cannot export {record.run.key} to {target}: {error}") from error
    return target


def write_account(folder: Path, settings: dict[str, Any], metrics: dict[str, float], origin: dict[str, Any]) -> None:
    """Write what was measured of a bundle's classifier and where it comes from."""
    measured = {"split": "validation", "tier": "rank", "images": num_images(settings, ranked=True)}
    write_json(folder / "metrics.json", {**measured, "metrics": metrics})
    write_json(folder / "provenance.json", {**origin, "format": FORMAT, "seed": settings["seed"]})


def _origin(sweep: Sweep, record: Record) -> dict[str, Any]:
    of_sweep = json.loads((sweep.folder / "provenance.json").read_text())
    threads = num_threads(sweep.space.resources.cpu)
    names = {"sweep": sweep.name, "sweep_id": sweep.id, "run": record.run.key}
    found = read_confirmed(sweep) if record.run.kind == "confirm" else None
    confirmed = {"confirmed": {"winner": found["winner"], **main_numbers(found)}} if found else {}
    return {**names, "num_threads": threads, **of_sweep, **confirmed}


def num_threads(cpus: float) -> int:
    """Return the threads that torch has in a run with that many CPUs (Ray sets them so)."""
    return max(1, int(cpus))


def recorded(bundle: Path) -> dict[str, Any]:
    """Return what a bundle says of itself: its metrics and provenance.

    Raises:
        UserError: the folder is no bundle.
    """
    try:
        metrics = json.loads((bundle / "metrics.json").read_text())
        provenance = json.loads((bundle / "provenance.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{bundle} is no bundle that `tuner export` or `tuner train` wrote: {error}") from error
    if provenance["format"] != FORMAT:
        raise UserError(f"{bundle} has format {provenance['format']}; this release reads format {FORMAT}")
    return {**metrics, "provenance": provenance}
