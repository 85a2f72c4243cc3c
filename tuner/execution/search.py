"""The stage of searching: trains the trials and baselines that a sweep asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search_spaces.sections import Budget
from tuner.execution.dispatcher import Observer
from tuner.execution.driver import Ending, drive
from tuner.search.ledger import Ledger
from tuner.sweep.control import Control
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best_trials
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Snapshot, read_snapshot, snapshot_of_records
from tuner.sweep.state import ALL_FAILED, SweepState, all_failed
from tuner.tracking.sync import draw_pictures, warn
from tuner.tracking.writer import MlflowWriter

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock


def search(
    sweep: SweepFolder,
    console: Console,
    on_start: Callable[[], None] = lambda: None,
    *,
    repair: bool = False,
    insecure: bool = False,
) -> Ending:
    """Train what is left of a sweep's search; of a complete one, only MLflow is brought up to date.

    Args:
        sweep: the sweep.
        console: shows progress and warnings.
        on_start: see `tuner.execution.driver.drive`.
        repair: train runs that have ended again first whose files are damaged, see
            `tuner.execution.upkeep.repair.repair_runs`; no other driver can come in between.
        insecure: see `tuner.execution.driver.drive`.

    Raises:
        UserError: see `tuner.execution.driver.drive`.
        SweepError: a run could not be repaired.
    """

    def prepare() -> None:
        if repair:
            from tuner.execution.upkeep.repair import repair_runs

            repair_runs(sweep, console, insecure=insecure)

    return drive(
        sweep,
        console,
        lambda study_lock: SearchStage(sweep, study_lock, console),
        on_start,
        prepare=prepare,
        command="resume --repair" if repair else "resume",
        insecure=insecure,
    )


class SearchStage:
    """See `tuner.execution.driver.Stage`. The caller holds the sweep's lock."""

    def __init__(self, sweep: SweepFolder, study_lock: StudyLock | None, console: Console) -> None:
        self._sweep = sweep
        self._console = console
        self.queue = Ledger(sweep, study_lock, partial(warn, console))
        self._had_work = not self.queue.is_complete

    @property
    def budget(self) -> Budget:
        """The budget of the space."""
        return self._sweep.space.budget

    def connect(self) -> MlflowWriter:
        """Connect to MLflow, and mark the sweep's run there as running if anything is left to train."""
        writer = MlflowWriter(self._sweep)
        if self._had_work:
            writer.begin()
        return writer

    def give_up(self, reason: str) -> None:
        """Record the reason in the study, where `tuner status` finds it."""
        self.queue.give_up(reason)

    def finish(self, mirror: Observer, control: Control) -> str:
        """Return that every run has failed, if so."""
        return ALL_FAILED if all_failed(self.queue.records.values()) else ""

    def sweep_state(self, ending: Ending) -> SweepState:
        """Return the state in which the drive left the search."""
        return ending.state

    def winners(self) -> Sequence[Record]:
        """Return the best trial, or with several objectives the front."""
        return best_trials(self._sweep.space, self.queue.records.values())

    def snapshot(self, state: SweepState) -> Snapshot:
        """Return how far the search has come."""
        return snapshot_of_records(self._sweep, list(self.queue.records.values()), state)

    def draw(self, folder: Path, ending: Ending) -> Mapping[str, Sequence[Path]]:
        """Draw the sweep; its runs, which take seconds each, only once it is complete."""
        snapshot = read_snapshot(self._sweep, is_locked=False, with_rows=True)
        return draw_pictures(snapshot, folder, self._console, with_runs=ending.state == "completed")
