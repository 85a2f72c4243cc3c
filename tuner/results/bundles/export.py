"""Export: one run as a folder that stands alone: configuration, weights, metrics and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.common.redaction import redact_arguments
from trainables.storage.atomic import reason_of, whole_folder, write_json
from tuner.errors import UserError
from tuner.results.bundles.card import CARD, model_card
from tuner.results.bundles.record import FORMAT
from tuner.results.bundles.space import SPACE, space_from
from tuner.results.confirmation import is_confirmed
from tuner.results.selection import choose_run
from tuner.results.terminal.confirmation import confirmation_sentences
from tuner.sweep.confirmation import Confirmation
from tuner.sweep.runs import Record, num_images
from tuner.sweep.snapshot import Snapshot


def export_run(
    snapshot: Snapshot,
    target: Path | None = None,
    key: str | None = None,
    *,
    with_program: bool = True,
    as_space: bool = False,
) -> Path:
    """Write the bundle of a run and return its folder; it appears whole or not at all.

    Args:
        snapshot: of the sweep.
        target: the folder to make; by default ``exports/<sweep>-<run>`` right here.
        key: of the run (``trial-0003``, ``3``, ``fgsm_retraining``); by default the best trial.
        with_program: also write the classifier as ``model.pt2``, which torch runs without our code.
        as_space: also write ``space.yaml``, see `tuner.results.bundles.space.space_from`.

    Raises:
        UserError: there is no such run, the folder is there already or cannot be written, the program needs code of a
            user's own that may not run here, or no space can begin with the run.
    """
    sweep, record = snapshot.sweep, choose_run(snapshot, key)
    target = (target or Path("exports") / bundle_name(snapshot, record)).absolute()
    _refuse_existing(target)
    space = space_from(snapshot, record) if as_space else None
    from trainables.errors import CheckpointError
    from trainables.networks.bundle import write_code, write_from_checkpoint

    origin = _origin(snapshot, record)
    if with_program:
        sweep.provide_code()  # which makes the network that is exported
    try:
        with whole_folder(target) as folder:
            write_from_checkpoint(folder, record.run.settings, sweep.last_checkpoint(record))
            write_code(folder, sweep.read_code())
            write_account(folder, record.run.settings, record.metrics, origin, with_program=with_program)
            if space is not None:
                (folder / SPACE).write_text(space, encoding="utf-8")  # to be edited, so without a checksum
    except (OSError, CheckpointError) as error:
        raise UserError(f"cannot export {record.run.key} to {target}: {reason_of(error)}") from error
    return target


def export_several(
    snapshot: Snapshot, records: Sequence[Record], target: Path | None = None, *, as_space: bool = False
) -> list[Path]:
    """Write the bundle of each of several runs, and return their folders.

    Args:
        snapshot: of the sweep.
        records: the runs.
        target: the folder that gets a folder for each run, ``<sweep>-<run>``; by default ``exports`` right here.
        as_space: see `export_run`.

    Raises:
        UserError: like `export_run`; if one of the folders is there already, none is written.
    """
    folders = [(target or Path("exports")) / bundle_name(snapshot, record) for record in records]
    for folder in folders:
        _refuse_existing(folder.absolute())
    return [
        export_run(snapshot, folder, record.run.key, as_space=as_space)
        for folder, record in zip(folders, records, strict=True)
    ]


def bundle_name(snapshot: Snapshot, record: Record) -> str:
    """Return what the folder of a run's bundle is called, unless somebody chooses another name."""
    return f"{snapshot.name}-{record.run.key}"


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise UserError(f"{target} is there already: remove it or choose another --output")


def write_account(
    folder: Path,
    settings: dict[str, Any],
    metrics: dict[str, float],
    origin: Mapping[str, object],
    *,
    with_program: bool = True,
) -> None:
    """Write what was measured of a bundle's classifier, where it comes from, its card, and the program of it.

    Args:
        folder: with the bundle's configuration and weights.
        settings: its configuration.
        metrics: of the last report of its run.
        origin: what ``provenance.json`` holds.
        with_program: see `export_run`.
    """
    from trainables.networks.bundle import read_bundle
    from trainables.networks.program import PROGRAM, UnexportableError, write_program
    from trainables.storage.bundle_files import write_checksums

    images = num_images(settings, ranked=True)
    write_json(folder / "metrics.json", {"split": "validation", "tier": "rank", "images": images, "metrics": metrics})
    write_json(folder / "provenance.json", {**origin, "format": FORMAT, "seed": settings["seed"]})
    without = ""
    if with_program:
        config, classifier = read_bundle(folder)
        try:
            write_program(folder / PROGRAM, classifier, config.dataset.task)
        except UnexportableError as error:
            with_program, without = False, str(error)
    card = model_card(settings, metrics, images, origin, with_program=with_program, without=without)
    (folder / CARD).write_text(card, encoding="utf-8")
    write_checksums(folder, "metrics.json", "provenance.json", CARD, *([PROGRAM] if with_program else []))


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
    return {**said, **confirmation.main_numbers(), "sentences": confirmation_sentences(confirmation)}


def num_threads(cpus: float) -> int:
    """Return the threads that torch has in a run with that many CPUs (Ray sets them so)."""
    return max(1, int(cpus))
