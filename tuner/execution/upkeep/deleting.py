"""Deletes a sweep: its folder, its study in a database, and its runs in MLflow, which MLflow can restore."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from trainables.storage.atomic import reason_of
from tuner.errors import StorageError, UserError
from tuner.sweep.folder import SweepFolder
from tuner.tracking.sync import delete_runs


@dataclass(frozen=True)
class Deletion:
    """What is deleted with a sweep: runs that have begun, and bytes on this machine."""

    runs: int
    bytes: int


def what_is_deleted(sweep: SweepFolder) -> Deletion:
    """Return what `delete_sweep` would delete."""
    folders = [path for parent in ("trials", "baselines") for path in sweep.folder.glob(f"{parent}/*")]
    return Deletion(len(folders), sum(_size(path) for path in sweep.folder.rglob("*")))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # it has just gone
        return 0


def delete_sweep(sweep: SweepFolder) -> list[str]:
    """Delete a sweep; its bundles, pictures and copies elsewhere stay.

    Args:
        sweep: that no driver is at work on.

    Returns:
        A sentence for each thing that still has something of the sweep: a champion that is registered in MLflow, and
        what could not be reached.

    Raises:
        UserError: a driver is at work on it, or the folder cannot be deleted.
    """
    with sweep.driver_lock.held():
        left = []
        try:
            champion = delete_runs(sweep)
            if champion is not None:
                left.append(f"{champion} stays in MLflow's registry, with its bundle")
        except UserError as error:
            left.append(f"{error}; its runs are still there")
        hidden = sweep.folder.with_name(f".deleted-{sweep.name}-{sweep.id[:8]}")
        try:
            sweep.store.remove_stored(sweep.folder)
            sweep.folder.rename(hidden)  # from now on it is no sweep any more, whatever ends this process
        except OSError as error:
            raise UserError(f"cannot delete {sweep.place}: {reason_of(error)}") from error
        if sweep.study_storage is not None:
            from tuner.storage.postgres_journal import remove_study

            try:
                remove_study(sweep.study_storage, sweep.id)
            except (StorageError, UserError) as error:
                left.append(f"its study is still in the database: {error}")
    shutil.rmtree(hidden, ignore_errors=True)
    return left
