"""Export: one run as a folder that stands alone: configuration, weights, metrics and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat

from trainables.common.redaction import redact_arguments
from trainables.evaluation.earlier_names import rename_results
from trainables.storage.atomic import whole_folder, write_json
from tuner.errors import UserError
from tuner.results.confirmation import is_confirmed
from tuner.results.selection import choose_run
from tuner.sweep.confirmation import Confirmation
from tuner.sweep.runs import Record, num_images
from tuner.sweep.snapshot import Snapshot

FORMAT = 2
"""Of a bundle; those of format 1 have no checksums."""

_MAX_THREADS = 1024


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
    from trainables.networks.bundle import write_checksums

    write_checksums(folder, "metrics.json", "provenance.json")


def _origin(snapshot: Snapshot, record: Record) -> dict[str, Any]:
    sweep = snapshot.sweep
    of_sweep = sweep.read_provenance()
    threads = num_threads(sweep.space.resources.cpu)
    names = {"sweep": sweep.name, "sweep_id": sweep.id, "run": record.run.key}
    confirmation = snapshot.confirmation if record.run.kind == "confirm" else None
    numbers = {"confirmed": _confirmed(confirmation)} if confirmation else {}
    command = redact_arguments(of_sweep["command"])  # earlier releases wrote it as it was typed
    return {**names, "num_threads": threads, **of_sweep, "command": command, **numbers}


def _confirmed(confirmation: Confirmation) -> dict[str, Any]:
    said = {"winner": confirmation.winner, "is_better_than_each_baseline": is_confirmed(confirmation)}
    return {**said, **confirmation.main_numbers()}


def num_threads(cpus: float) -> int:
    """Return the threads that torch has in a run with that many CPUs (Ray sets them so)."""
    return max(1, int(cpus))


class _Measured(BaseModel):
    """What ``metrics.json`` says."""

    metrics: dict[str, FiniteFloat]
    images: Annotated[int, Field(ge=1)]


class _Origin(BaseModel):
    """What ``provenance.json`` says, as far as it is read."""

    format: int
    num_threads: Annotated[int, Field(ge=1, le=_MAX_THREADS)]


@dataclass(frozen=True)
class BundleRecord:
    """What a bundle says of its classifier.

    Attributes:
        metrics: the last ones of its run, by name.
        images: how many validation images they were measured on.
        num_threads: torch's threads in that run.
    """

    metrics: dict[str, float]
    images: int
    num_threads: int


def read_bundle_record(bundle: Path) -> BundleRecord:
    """Return what a bundle says of its classifier.

    Raises:
        UserError: the folder is no bundle, of a later release, or changed since it was written.
    """
    from trainables.networks.bundle import CHECKSUMS, has_checksums, read_bundle_json

    origin = read_bundle_json(bundle, "provenance.json", _Origin.model_validate)
    measured = read_bundle_json(bundle, "metrics.json", _Measured.model_validate)
    if not 1 <= origin.format <= FORMAT:
        raise UserError(f"{bundle} has format {origin.format}; this release reads formats 1 to {FORMAT}")
    if origin.format > 1 and not has_checksums(bundle):
        raise UserError(
            f"{bundle} lacks its file {CHECKSUMS}: it cannot be told whether it was changed; export it again"
        )
    return BundleRecord(rename_results(measured.metrics), measured.images, origin.num_threads)
