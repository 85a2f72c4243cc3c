"""Makes a sweep of its own from another one: with an id, runs in MLflow and a study of its own.

The files of a sweep say to which sweep they belong, and lines of its journal and metrics carry checksums that depend on
it, so they are verified and written anew. A sweep that is damaged is not copied.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from trainables.storage.atomic import reason_of, write_json
from trainables.storage.bounded import open_regular, read_bounded
from trainables.storage.checked_json import read_json
from trainables.storage.checked_lines import DamagedLineError, LineChecksums
from tuner.errors import UserError
from tuner.sweep.evaluations import EVALUATION_FILES
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import check_available
from tuner.sweep.reader import open_journal, open_writer

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
_NOT_COPIED = {
    "owner.json",
    "request.json",
    "phase.json",
    "driver.log",
    "sweep.json",
    "study.journal",
    "attempt",
    "mirrored.json",
}
"""What is of a driver, not of the sweep, and what is made anew."""
_PROVENANCE = "provenance.json"
_DIGEST_IN_STUDY = {"confirm.json", *EVALUATION_FILES.values()}
_OF_CHECKPOINT, _TENSORS = "state.json", "tensors.safetensors"
_ENTRIES_AT_ONCE = 10_000
_MAX_BYTES = 1024**3


def copy_sweep(sweep: SweepFolder, name: str) -> SweepFolder:
    """Copy a sweep, and return the copy; it appears whole or not at all, and the original stays as it is.

    Args:
        sweep: that is copied; no driver may be at work on it.
        name: of the copy, in the same home.

    Raises:
        UserError: the name is taken or not allowed, a driver is at work on the sweep, a file of it is damaged, or the
            home or the database cannot be written.
    """
    check_available(name, sweep.store, sweep.study_storage)
    target = sweep.folder.with_name(name)
    with sweep.driver_lock.held(), contextlib.ExitStack() as undo:
        if sweep.study_storage is not None:  # a copied folder is about another moment than the study
            sweep.check_place()
        sweep.store.fetch_folder(sweep.folder)
        try:
            with sweep.store.whole_folder(target, last="sweep.json") as folder:
                copy = sweep.write_copy(name, folder)
                replaced = _copy_files(sweep, copy, folder)
                undo.callback(_remove_study, copy)
                _copy_study(sweep, replace(copy, folder=folder), replaced)
        except OSError as error:
            raise UserError(
                f"{sweep.name!r} cannot be copied to {target}: {reason_of(error)}; nothing was made"
            ) from error
        undo.pop_all()
    return copy


def _copy_files(sweep: SweepFolder, copy: SweepFolder, folder: Path) -> dict[str, str]:
    """Copy the files of a sweep into a folder; return by what its id and the digests of its files are replaced."""
    replaced = {sweep.id: copy.id}
    for path in sorted(sweep.folder.rglob("*")):
        name = path.relative_to(sweep.folder)
        if path.is_dir() or path.name in _NOT_COPIED or any(part.startswith(".") for part in name.parts):
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if any(".aside-" in part for part in name.parts):  # no longer of any run
            _copy_file(path, target)
        elif path.suffix == ".json":
            _copy_json(path, target, sweep, copy)
        elif path.suffix == ".jsonl":
            _copy_lines(path, target, replaced)
        else:
            _copy_file(path, target)
        if path.name in _DIGEST_IN_STUDY:
            replaced[_digest(path)] = _digest(target)
    _add_origin(sweep, copy, folder / _PROVENANCE)
    replaced[_digest(sweep.folder / _PROVENANCE)] = _digest(folder / _PROVENANCE)
    return replaced


def _copy_file(path: Path, target: Path) -> None:
    with open_regular(path) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def _digest(path: Path) -> str:
    return hashlib.sha256(read_bounded(path, _MAX_BYTES)).hexdigest()


def _copy_json(path: Path, target: Path, sweep: SweepFolder, copy: SweepFolder) -> None:
    is_checkpoint = path.name == _OF_CHECKPOINT  # its checksums are of the tensors and of the state
    content = _parsed(path, read_bounded(path, _MAX_BYTES)) if is_checkpoint else _read_json(path)
    changes = {key: copy.id for key in ("sweep_id", "sweep") if content.get(key) == sweep.id}
    if "sweep_id" in changes and content.get("sweep") == sweep.name:
        changes["sweep"] = copy.name
    if is_checkpoint and content.get("sha256") != _digest(path.with_name(_TENSORS)):
        raise UserError(f"{path.with_name(_TENSORS)} is damaged (its checksum does not match): nothing was copied")
    if not changes:
        _copy_file(path, target)
    elif is_checkpoint:
        target.write_bytes(json.dumps({**content, **changes}).encode())
    else:
        write_json(target, {**content, **changes})


def _copy_lines(path: Path, target: Path, replaced: Mapping[str, str]) -> None:
    """Copy a file of JSON lines; a last line that a crash cut off is left out."""
    before, after, lines = LineChecksums(), LineChecksums(), []
    content = read_bounded(path, _MAX_BYTES)
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        try:
            before.check(line)
        except DamagedLineError as error:
            raise UserError(f"{path} is damaged ({error}): nothing was copied") from error
        row = _parsed(path, line)
        if row.pop("crc", None) is None:
            after.check(line)
            lines.append(line)
        else:
            lines.append(after.seal(json.dumps(_with(row, replaced)).encode()))
    target.write_bytes(b"".join(line + b"\n" for line in lines))


def _read_json(path: Path) -> dict[str, Json]:
    """Return the content of a JSON file of a sweep, without its checksum, which is verified."""
    return read_json(path, dict[str, Any], remedy="nothing was copied")


def _parsed(path: Path, text: bytes) -> dict[str, Json]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): nothing was copied") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (it is no JSON object): nothing was copied")
    return content


def _with(value: Json, replaced: Mapping[str, str]) -> Json:
    """Return a value in which texts are replaced by others, however deep they lie."""
    if isinstance(value, dict):
        return {key: _with(item, replaced) for key, item in value.items()}
    if isinstance(value, list):
        return [_with(item, replaced) for item in value]
    return replaced.get(value, value) if isinstance(value, str) else value


def _add_origin(sweep: SweepFolder, copy: SweepFolder, path: Path) -> None:
    """Add to the provenance of a copy what it was copied from."""
    content = _read_json(path)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    origin: Json = {"sweep": sweep.name, "sweep_id": sweep.id, "place": sweep.place, "time": time}
    earlier = content.get("copied_from", [])
    write_json(
        path, {**content, "sweep_id": copy.id, "copied_from": [*(earlier if isinstance(earlier, list) else []), origin]}
    )


def _copy_study(sweep: SweepFolder, copy: SweepFolder, replaced: Mapping[str, str]) -> None:
    with copy.driver_lock.study() as study_lock:
        writer = open_writer(copy, study_lock)
        entries = itertools.chain(writer.read_logs(0), _entries(sweep, replaced))  # the first are none: it is new
        while batch := list(itertools.islice(entries, _ENTRIES_AT_ONCE)):
            writer.append_logs(batch)
        writer.sync()


def _entries(sweep: SweepFolder, replaced: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """Yield the entries of a sweep's journal for its copy."""
    journal = open_journal(sweep)
    for line in journal.read_logs(0) if journal else ():
        entry: Any = line
        yield {key: _with(value, replaced) for key, value in entry.items() if key != "crc"}


def _remove_study(copy: SweepFolder) -> None:
    """Remove the study of a copy that could not be finished; the one in a file goes with its folder."""
    if copy.study_storage is not None:
        from tuner.storage.postgres_journal import remove_study

        remove_study(copy.study_storage, copy.id)
