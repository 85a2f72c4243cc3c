"""How much of the slots' time goes into training and evaluation: a whole sweep on Ray, MLflow and real MNIST."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import optuna
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from rich.table import Table

from tuner.execution.ray_tune.capacity import num_slots
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.search import search
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import SEARCH, read_records

AIM = 0.9
SPACE = """
name: slots
trainable: gan
budget: {trials: 16, compute: 3}
search: {sampler: tpe, pruner: none}
parameters:
  classifier: {learning_rate: {float: [1.0e-3, 5.0e-3], log: true}}
  generator: {perturbation_bound: {float: [0.25, 0.4]}}
  pretrain: 0.5
"""


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Yield an empty home for sweeps, with the MLflow database in it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, mock.patch.dict(os.environ):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        yield Path(folder)


def measure() -> Table:
    """Run the sweep and return the shares."""
    with temporary_home() as home, Path(os.devnull).open("w") as nowhere:
        sweep = SweepFolder.create("slots", SPACE, "slots.yaml", home=home)
        started = time.time()
        search(sweep, Console(file=nowhere))
        slots = num_slots(RunResources())
        ray.shutdown()
        rows = [record.metrics for record in read_records(sweep)]
        first_s, last_s = _begun_and_ended(sweep)
    train_s, evaluation_s = (sum(row[name] for row in rows) for name in ("train_s", "evaluation_s"))
    table = Table(title=f"slots: {len(rows)} trials on {slots} slots")
    for name in ("measured", "wall s", "training", "evaluation", "together", "aim"):
        table.add_column(name, justify="left" if name == "measured" else "right")
    for name, wall_s, aim in (
        ("first start to last end", last_s - first_s, f">= {AIM}"),
        ("with Ray's start", last_s - started, ""),
    ):
        shares = [seconds / (slots * wall_s) for seconds in (train_s, evaluation_s, train_s + evaluation_s)]
        table.add_row(name, f"{wall_s:.1f}", *(f"{share:.3f}" for share in shares), aim)
    return table


def _begun_and_ended(sweep: SweepFolder) -> tuple[float, float]:
    storage = JournalStorage(JournalFileBackend(str(sweep.journal)))
    trials = optuna.load_study(study_name=SEARCH, storage=storage).trials
    begun = [trial.datetime_start.timestamp() for trial in trials if trial.datetime_start]
    ended = [trial.datetime_complete.timestamp() for trial in trials if trial.datetime_complete]
    return min(begun), max(ended)
