"""Export: one run as a folder that stands alone: configuration, weights, metrics and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.common.redaction import redact_arguments
from trainables.storage.atomic import whole_folder, write_json
from tuner.errors import UserError
from tuner.results.selection import choose_run
from tuner.sweep.runs import Record, num_images
from tuner.sweep.snapshot import Snapshot

FORMAT = 1


def export_run(snapshot: Snapshot, target: Path | None = None, key: str | None = None) -> Path:
    """Write the bundle of a run and return its folder; it appears whole or not at all.

    Args:
        snapshot: of the sweep.
        target: the folder to make; by default ``exports/<sweep>-<run>`` right here.
        key: of the run (``trial-0003``, ``3``, ``fgsm_retraining``); by default the best trial.

    Raises:
        UserError: there is no such run, the folder is there already or cannot be written.
    """
    sweep, record = snapshot.sweep, choose_run(snapshot, key)
    target = (target or Path("exports") / f"{sweep.name}-{record.run.key}").absolute()
    if target.exists():
        raise UserError(f"{target} is there already: remove it or choose another --output")
    from trainables.errors import CheckpointError
    from trainables.networks.bundle import write_from_checkpoint

    try:
        with whole_folder(target) as folder:
            write_from_checkpoint(folder, record.run.settings, sweep.last_checkpoint(record))
            write_account(folder, record.run.settings, record.metrics, _origin(snapshot, record))
    except (OSError, CheckpointError) as error:
        raise UserError(f"cannot export {record.run.key} to {target}: {error}") from error
    return target


def write_account(
    folder: Path, settings: dict[str, Any], metrics: dict[str, float], origin: Mapping[str, object]
) -> None:
    """Write what was measured of a bundle's classifier and where it comes from."""
    measured = {"split": "validation", "tier": "rank", "images": num_images(settings, ranked=True)}
    write_json(folder / "metrics.json", {**measured, "metrics": metrics})
    write_json(folder / "provenance.json", {**origin, "format": FORMAT, "seed": settings["seed"]})


def _origin(snapshot: Snapshot, record: Record) -> dict[str, Any]:
    sweep = snapshot.sweep
    of_sweep = json.loads((sweep.folder / "provenance.json").read_text())
    threads = num_threads(sweep.space.resources.cpu)
    names = {"sweep": sweep.name, "sweep_id": sweep.id, "run": record.run.key}
    confirmation = snapshot.confirmation if record.run.kind == "confirm" else None
    numbers = {"confirmed": {"winner": confirmation.winner, **confirmation.main_numbers()}} if confirmation else {}
    command = redact_arguments(of_sweep["command"])  # earlier releases wrote it as it was typed
    return {**names, "num_threads": threads, **of_sweep, "command": command, **numbers}


def num_threads(cpus: float) -> int:
    """Return the threads that torch has in a run with that many CPUs (Ray sets them so)."""
    return max(1, int(cpus))


@dataclass(frozen=True)
class BundleRecord:
    """What a bundle says of its classifier: the last metrics of its run, and torch's threads in that run."""

    metrics: dict[str, float]
    num_threads: int


def read_bundle_record(bundle: Path) -> BundleRecord:
    """Return what a bundle says of its classifier.

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
    return BundleRecord(metrics["metrics"], provenance["num_threads"])
