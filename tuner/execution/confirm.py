"""The stage of confirming: trains the best configurations and the baselines again, and compares them on test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search_spaces.limits import MAX_CONFIRMED, MAX_SEEDS, MAX_WORKERS
from search_spaces.sections import Budget
from trainables.common.limits import MAX_IMAGES
from tuner.execution.dispatcher import Observer
from tuner.execution.driver import Ending, drive
from tuner.execution.evaluation import evaluate_runs
from tuner.execution.launch import gpu_use
from tuner.execution.preflight import check_count, check_device, check_resources
from tuner.execution.software import check_software, record_software
from tuner.results.confirmation import write_confirmation
from tuner.results.terminal.waiting import counting
from tuner.search.confirmation import make_plan
from tuner.search.confirmation_ledger import ConfirmLedger
from tuner.sweep.control import Control
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import open_files
from tuner.sweep.runs import Record, Tier
from tuner.sweep.snapshot import Snapshot, read_snapshot, snapshot_of_records
from tuner.sweep.state import SweepState, is_complete
from tuner.tracking.sync import draw_pictures, warn
from tuner.tracking.writer import MlflowWriter

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock


@dataclass(frozen=True)
class ConfirmOptions:
    """What is confirmed, and how the test images are evaluated.

    Attributes:
        top: number of configurations, see `tuner.search.confirmation.make_plan`.
        num_seeds: number of seeds for each, likewise.
        baselines: names of the sweep's baselines to compare with, likewise.
        tier: the attacks that the test images are evaluated with.
        num_images: evaluate only the first test images; by default all.
        workers: number of runs that are evaluated at once, see `tuner.execution.evaluation.evaluate_runs`.
        device: that they are trained and evaluated on, from now on; by default as the sweep's runs were.

    Raises:
        UserError: a number is out of bounds or no whole number.
    """

    top: int | None = None
    num_seeds: int | None = None
    baselines: Sequence[str] | None = None
    tier: Tier = "rank"
    num_images: int | None = None
    workers: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no confirmation can have."""
        check_count("top", self.top, MAX_CONFIRMED)
        check_count("seeds", self.num_seeds, MAX_SEEDS, least=2)
        check_count("images", self.num_images, MAX_IMAGES)
        check_count("workers", self.workers, MAX_WORKERS)
        check_device(self.device)


def confirm(
    sweep: SweepFolder,
    console: Console,
    options: ConfirmOptions,
    *,
    accept_code_change: bool = False,
    insecure: bool = False,
) -> Ending:
    """Train what is left of a sweep's confirming, evaluate its runs on test images, and write ``confirm.json``.

    Args:
        sweep: the sweep.
        console: shows progress and warnings.
        options: what is confirmed, and how.
        accept_code_change: go on although the code that trains differs from that of its runs.
        insecure: see `tuner.execution.driver.drive`.

    Raises:
        UserError: nothing can be confirmed, or the code that trains differs; else see `tuner.execution.driver.drive`.
        CheckpointError: a run's checkpoint is missing or damaged.
    """
    sweep.check_space()
    if (use := gpu_use(None, options.device)) is not None:
        sweep = replace(sweep, gpus=use)
    check_resources(sweep.space.resources, sweep.gpus)
    change = check_software(sweep, console, accept_code_change=accept_code_change, command="confirm")
    if change is not None:
        with sweep.lock() as study_lock:
            record_software(sweep, change, open_files(sweep, study_lock))
    return drive(
        sweep,
        console,
        lambda study_lock: ConfirmStage(sweep, study_lock, console, options),
        command="confirm",
        insecure=insecure,
    )


class ConfirmStage:
    """See `tuner.execution.driver.Stage`. The caller holds the sweep's lock."""

    def __init__(
        self, sweep: SweepFolder, study_lock: StudyLock | None, console: Console, options: ConfirmOptions
    ) -> None:
        self._sweep = sweep
        self._console = console
        self._options = options
        self._plan = make_plan(sweep, options.top, options.num_seeds, options.baselines)
        self._search = read_snapshot(sweep, is_locked=False)
        if not is_complete(sweep, self._search.records):
            warn(console, f"The search has not come to its end: `tuner resume {sweep.name}` goes on with it")
        self.queue = ConfirmLedger(sweep, self._plan, study_lock, partial(warn, console))

    @property
    def budget(self) -> Budget:
        """The compute of one run: the search's other budgets do not end this stage."""
        return Budget(compute=self._sweep.space.budget.compute)

    def connect(self) -> MlflowWriter:
        """Connect to MLflow; the sweep's run there keeps the status that the search gave it."""
        return MlflowWriter(self._sweep)

    def give_up(self, reason: str) -> None:
        """Do nothing: the state of the sweep is that of its search."""

    def finish(self, mirror: Observer, control: Control) -> str:
        """Evaluate the complete runs on test images, and write ``confirm.json``."""
        options, records = self._options, list(self.queue.records.values())
        with counting(self._console, "Evaluating on test images") as on_progress:
            evaluate_runs(
                self._sweep,
                [record for record in records if record.state == "complete"],
                self.queue.files,
                tier=options.tier,
                num_images=options.num_images,
                workers=options.workers,
                tell=self._console.print,
                on_progress=on_progress,
                control=control,
            )
        write_confirmation(self._sweep, self._plan, records, options.tier, self.queue.record_result)
        for record in records:
            mirror.changed(record)
        return ""

    def sweep_state(self, ending: Ending) -> SweepState:
        """Return the state of the search."""
        return self._search.state

    def winners(self) -> Sequence[Record]:
        """Return the best runs of the search."""
        return self._search.best_trials

    def snapshot(self, state: SweepState) -> Snapshot:
        """Return how far the search has come, and the result of confirming it."""
        return snapshot_of_records(self._sweep, self._search.records, self._search.state)

    def draw(self, folder: Path, ending: Ending) -> Mapping[str, Sequence[Path]]:
        """Draw the sweep again once it is confirmed, for its report then says so."""
        if not ending.completed:
            return {}
        snapshot = read_snapshot(self._sweep, is_locked=False, with_rows=True)
        return draw_pictures(snapshot, folder, self._console)
