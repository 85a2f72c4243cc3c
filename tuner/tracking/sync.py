"""Brings MLflow up to date with a sweep's folder, with its pictures."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console

from trainables.common.redaction import redact
from tuner.errors import UserError
from tuner.results.draw import draw_sweep
from tuner.sweep.folder import SweepFolder
from tuner.sweep.snapshot import Snapshot, read_snapshot
from tuner.tracking.registry.champion import register_champion
from tuner.tracking.server import quiet_mlflow, tracking_uri
from tuner.tracking.writer import MlflowWriter


def mirror_now(sweep: SweepFolder, console: Console, *, with_runs: bool = True) -> None:
    """Bring MLflow up to date with a sweep's folder, right now.

    Args:
        sweep: whose lock the caller holds.
        console: is told which pictures could not be drawn.
        with_runs: draw the best trial and the baselines, too, which takes seconds for each, and register the best run.

    Raises:
        UserError: MLflow cannot be written, which nothing but the mirror waits for, or a file of the sweep is damaged.
    """
    snapshot = read_snapshot(sweep, is_locked=False, with_rows=True)
    snapshot.require_whole()
    try:
        with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
            writer = MlflowWriter(sweep)
            for record in (*snapshot.records, *snapshot.confirming_records):
                writer.write(record, snapshot.rows[record.run.key])
            try:
                writer.present(snapshot)
            except Exception as error:  # whatever MLflow raises
                warn(console, not_presented(sweep.name, error))
            pictures = draw_pictures(snapshot, Path(folder), console, with_runs=with_runs)
            writer.finish(snapshot.state, snapshot.best_trials, pictures)
    except Exception as error:  # whatever MLflow and its databases raise
        reason = str(error).splitlines()[0]
        raise UserError(f"MLflow at {tracking_uri(sweep.folder.parent)} cannot be written: {reason}") from error
    if with_runs:
        register(sweep, console)


def register(sweep: SweepFolder, console: Console) -> None:
    """Register the best run of a sweep in MLflow, see `tuner.tracking.registry.champion.register_champion`."""
    register_champion(sweep, lambda text: console.print(text, style="dim", markup=False), partial(warn, console))


def not_presented(name: str, error: Exception) -> str:
    """Return what to tell a person about a sweep whose table or summary could not be written to MLflow."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return f"MLflow lacks the table or the summary of {name}: {reason}; `tuner sync {name}` makes them"


def draw_pictures(
    snapshot: Snapshot, folder: Path, console: Console, *, with_runs: bool = True
) -> dict[str, list[Path]]:
    """Draw a sweep; whatever fails is a warning on the console.

    Args:
        snapshot: of the sweep, with rows.
        folder: an existing folder for the PNGs.
        console: shows warnings.
        with_runs: see `tuner.results.draw.draw_sweep`.

    Returns:
        The PNGs by the key of the run that they show.
    """
    if with_runs:
        console.print("Drawing the best trial and the baselines", style="dim")
    try:
        drawn = draw_sweep(snapshot, folder, with_runs=with_runs)
    except Exception as error:  # whatever drawing raises
        warn(console, f"The pictures could not be drawn: {error}")
        return {}
    for what in drawn.missing:
        warn(console, f"Not drawn: {what}")
    return drawn.files


def warn(console: Console, text: str) -> None:
    """Say what a person should know, though nothing stops for it."""
    console.print(redact(text), style="yellow", markup=False, soft_wrap=True)
