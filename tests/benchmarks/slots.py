"""How much of the slots' time goes into training and evaluation: the whole search of `quick` on Ray and real MNIST."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import ray
from rich.console import Console
from rich.table import Table

from search_spaces.library import text_of
from tuner.execution.ray_tune.capacity import num_slots
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.search import search
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import ended_or_running, read_records, read_studies

AIMS = "training >= 0.92, evaluation <= 0.06"


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Yield an empty home for sweeps, with the MLflow database in it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, mock.patch.dict(os.environ):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        yield Path(folder)


def measure() -> Table:
    """Run the sweep and return the shares."""
    with temporary_home() as home, Path(os.devnull).open("w") as nowhere:
        sweep = SweepFolder.create("slots", *text_of("quick"), home=home)
        started_s = time.time()
        search(sweep, Console(file=nowhere))
        slots = num_slots(RunResources())
        ray.shutdown()
        rows = [record.metrics for record in read_records(sweep)]
        first_s, ends_s = _begun_and_ended(sweep)
    train_s, evaluation_s = (sum(row[name] for row in rows) for name in ("train_s", "evaluation_s"))
    with_start_s, wall_s = slots * (ends_s[-1] - started_s), slots * (ends_s[-1] - first_s)
    # What the other slots wait at the end, when no run is left for them.
    waiting_s = sum(ends_s[-1] - end_s for end_s in ends_s[-slots:])
    table = Table(title=f"slots: {len(rows)} runs of quick on {slots} slots", caption=f"aims: {AIMS}")
    for name in ("slots' time", "seconds", "training", "evaluation", "other"):
        table.add_column(name, justify="left" if name == "slots' time" else "right")
    for name, slots_s in (
        ("from Ray's start to the last end", with_start_s),
        ("from the first run's start", wall_s),
        ("while there are runs for all slots", wall_s - waiting_s),
    ):
        shares = (train_s, evaluation_s, slots_s - train_s - evaluation_s)
        table.add_row(name, f"{slots_s:.1f}", *(f"{share_s / slots_s:.3f}" for share_s in shares))
    return table


def _begun_and_ended(sweep: SweepFolder) -> tuple[float, list[float]]:
    """Return when the first run began, and when each ended, in order."""
    trials = [trial for _, trial in ended_or_running(read_studies(sweep), ("baseline", "trial"))]
    begun = [trial.datetime_start.timestamp() for trial in trials if trial.datetime_start]
    return min(begun), sorted(trial.datetime_complete.timestamp() for trial in trials if trial.datetime_complete)
