"""Brings MLflow up to date with a sweep's folder, with its pictures; nothing is drawn or sent twice for one content.

``mirrored.json`` in the sweep's folder says which content was sent where. It counts only for a SQLite database that has
as many runs and files of the sweep as were counted then; of a server, and of a study in a database, nothing is assumed.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console

from trainables.common.redaction import redact
from trainables.storage.checked_json import read_json
from tuner.errors import UserError
from tuner.results.pictures.draw import Pictures, draw_sweep
from tuner.results.terminal.output import say
from tuner.results.terminal.waiting import waiting
from tuner.sweep.folder import FORMAT, SweepFolder
from tuner.sweep.runs import SWEEP
from tuner.sweep.snapshot import Snapshot, read_snapshot
from tuner.tracking.artifacts import database_file
from tuner.tracking.mlflow_internals import count_runs_and_files
from tuner.tracking.registry.champion import register_champion, registered_champion
from tuner.tracking.server import EXPERIMENT, SWEEP_TAG, connect, quiet_mlflow, tracking_uri
from tuner.tracking.writer import MlflowWriter

FILE = "mirrored.json"
_CONTENT = ("*.json", "*.yaml", "*.journal", "*/*/*.jsonl", "*/*/*.json", "confirm/*/*/*.jsonl", "confirm/*/*/*.json")
_OF_DRIVERS = {"owner.json", "request.json", "phase.json", FILE}


def mirror_now(sweep: SweepFolder, console: Console, *, with_runs: bool = True) -> None:
    """Bring MLflow up to date with a sweep's folder, right now; if it is, that takes a moment.

    Args:
        sweep: whose lock the caller holds.
        console: is told which pictures could not be drawn.
        with_runs: draw the best trial and the baselines, too, which takes seconds for each, and register the best run.

    Raises:
        UserError: MLflow cannot be written, which nothing but the mirror waits for, or a file of the sweep is damaged.
    """
    if is_settled(sweep):
        return
    snapshot = read_snapshot(sweep, is_locked=False, with_rows=True)
    snapshot.require_whole()
    troubles: list[str] = []

    def tell_trouble(text: str) -> None:
        troubles.append(text)
        warn(console, text)

    try:
        with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
            with waiting(console, "Writing to MLflow", in_logs=False):
                writer = MlflowWriter(sweep)
                for record in (*snapshot.records, *snapshot.confirming_records):
                    writer.write(record, snapshot.rows[record.run.key])
                try:
                    writer.present(snapshot)
                except Exception as error:  # whatever MLflow raises
                    tell_trouble(not_presented(sweep.name, error))
            pictures = draw_pictures(snapshot, Path(folder), console, with_runs=with_runs)
            writer.finish(snapshot.state, snapshot.best_trials, pictures)
    except UserError:  # it says what is wrong
        raise
    except Exception as error:  # whatever MLflow and its databases raise
        reason = str(error).splitlines()[0]
        raise UserError(f"MLflow at {tracking_uri(sweep.folder.parent)} cannot be written: {reason}") from error
    if with_runs:
        register(sweep, console, tell_trouble)
        if not troubles:
            note_settled(sweep)


def register(sweep: SweepFolder, console: Console, tell_trouble: Callable[[str], None]) -> None:
    """Register the best run of a sweep in MLflow, see `tuner.tracking.registry.champion.register_champion`.

    Args:
        sweep: whose lock the caller holds.
        console: is told of a new champion.
        tell_trouble: is told what could not be made.
    """
    with waiting(console, "Registering the champion in MLflow", in_logs=False):
        register_champion(sweep, lambda text: say(console, text, "dim"), tell_trouble)


def not_presented(name: str, error: Exception) -> str:
    """Return what to tell a person about a sweep whose table or summary could not be written to MLflow."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return f"MLflow lacks the table or the summary of {name}: {reason}; `tuner sync {name}` makes them"


def delete_runs(sweep: SweepFolder) -> str | None:
    """Delete the runs of a sweep in MLflow, which keeps them as deleted: ``mlflow gc`` removes them for good.

    Returns:
        The address of its champion in MLflow's registry, which stays; None if there is none.

    Raises:
        UserError: MLflow cannot be written.
    """
    home = sweep.folder.parent
    uri = tracking_uri(home)
    database = database_file(uri)
    if database is not None and not database.exists():
        return None
    try:
        with quiet_mlflow():
            client = connect(home)
            found = client.get_experiment_by_name(EXPERIMENT)
            query, token = f"tags.`{SWEEP_TAG}` = '{sweep.id}'", None
            runs = []
            while found is not None and token != "":
                page = client.search_runs([found.experiment_id], query, max_results=1000, page_token=token)
                runs += [run.info.run_id for run in page]
                token = page.token or ""
            for run_id in runs:
                client.delete_run(run_id)
            return registered_champion(client, sweep)
    except Exception as error:  # whatever MLflow and its databases raise
        raise UserError(f"MLflow at {uri} cannot be written: {str(error).splitlines()[0]}") from error


def draw_pictures(
    snapshot: Snapshot, folder: Path, console: Console, *, with_runs: bool = True
) -> dict[str, list[Path]]:
    """Draw a sweep; whatever fails is a warning on the console.

    Args:
        snapshot: of the sweep, with rows.
        folder: an existing folder for the PNGs.
        console: shows warnings.
        with_runs: see `tuner.results.pictures.draw.draw_sweep`; also make the report.

    Returns:
        The PNGs by the key of the run that they show, and the report beside those of the sweep.
    """
    what = "Drawing the best trial and the baselines" if with_runs else "Drawing the sweep"
    try:
        with waiting(console, what, in_logs=with_runs):
            drawn = draw_sweep(snapshot, folder, with_runs=with_runs)
    except Exception as error:  # whatever drawing raises
        warn(console, f"The pictures could not be drawn: {error}")
        return {}
    for what in drawn.missing:
        warn(console, f"Not drawn: {what}")
    if with_runs:
        _add_report(snapshot, drawn, folder, console)
    return drawn.files


def _add_report(snapshot: Snapshot, drawn: Pictures, folder: Path, console: Console) -> None:
    from tuner.results.report.page import render
    from tuner.results.report.sections import make_sections

    report = folder / "report.html"
    try:
        with waiting(console, "Making the report"):
            report.write_text(render(snapshot, make_sections(snapshot, drawn)), encoding="utf-8")
    except Exception as error:  # whatever the libraries of charts raise
        warn(console, f"The report could not be made: {error}; `tuner report {snapshot.name}` tries it again")
        return
    drawn.files.setdefault(SWEEP, []).append(report)


def warn(console: Console, text: str) -> None:
    """Say what a person should know, though nothing stops for it."""
    say(console, redact(text), "yellow")


@dataclass(frozen=True)
class _Mirrored:
    """The content of ``mirrored.json``: digests of what was sent and of where to, and what MLflow had then."""

    format: int
    content: str
    uri: str
    runs: int
    files: int


def is_settled(sweep: SweepFolder) -> bool:
    """Return whether MLflow has all of a sweep, pictures and champion among it, since it was last brought up to date.

    Args:
        sweep: whose lock the caller holds.
    """
    try:
        noted = read_json(sweep.folder / FILE, _Mirrored, remedy="it is made again", sweep_id=sweep.id)
        return noted == _now(sweep)
    except (OSError, UserError):
        return False


def note_settled(sweep: SweepFolder) -> None:
    """Note that MLflow has all of a sweep now; nothing if that cannot be known the next time.

    Args:
        sweep: whose lock the caller holds.
    """
    with contextlib.suppress(OSError):  # then the next `tuner sync` takes longer
        now = _now(sweep)
        if now is not None:
            sweep.store.write_json(sweep.folder / FILE, {**vars(now), "sweep_id": sweep.id})


def _now(sweep: SweepFolder) -> _Mirrored | None:
    uri = tracking_uri(sweep.folder.parent)
    database = database_file(uri)
    if database is None or not database.exists() or sweep.study_storage is not None:
        return None
    runs, files = count_runs_and_files(database, SWEEP_TAG, sweep.id)
    return _Mirrored(FORMAT, _content(sweep.folder), hashlib.sha256(uri.encode()).hexdigest()[:16], runs, files)


def _content(folder: Path) -> str:
    """Return a digest of sizes and times of the files that are sent or drawn, and of the release that draws them."""
    try:
        digest = hashlib.sha256(version("adversarial-tuner").encode())
    except PackageNotFoundError:
        digest = hashlib.sha256()
    paths = {path for pattern in _CONTENT for path in folder.glob(pattern) if path.name not in _OF_DRIVERS}
    for path in sorted(paths):
        info = path.stat()
        digest.update(f"{path.relative_to(folder)} {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
