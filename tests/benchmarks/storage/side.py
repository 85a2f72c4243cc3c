"""One release's side of the benchmark: does what it is asked for, and answers with seconds of processor time.

Runs with the code that ``PYTHONPATH`` names, this one's or that of `tests.benchmarks.storage.COMMIT`, whose modules had
other names. Asks for one operation a line, see `OPERATIONS`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import tuner

SPACE = """
name: storage
trainable: gan
dataset: {name: digits, validation: 200}
budget: {trials: 1, compute: 20}
search: {sampler: random, pruner: none}
parameters:
  classifier: {learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
  generator:
    learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
    perturbation_bound: {float: [0.1, 0.5]}
    image_gradient: {choice: [none, sign, normalized]}
"""
NUM_REPORTS = 50  # of a round
NUM_WEIGHTS = 120_000  # about those of `small_cnn`, with what Adam keeps of each


# Not by trying to import: an editable installation would answer for modules that this code lacks.
_IS_EARLIER = not (Path(tuner.__file__).parent / "search").is_dir()


def _module(now: str, before: str) -> Any:
    return importlib.import_module(before if _IS_EARLIER else now)


folders = _module("tuner.sweep.folder", "tuner.sweep")
ledgers = _module("tuner.search.ledger", "tuner.ledger")
readers = _module("tuner.sweep.reader", "tuner.studies")
Folder = getattr(folders, "SweepFolder", None) or folders.Sweep


def _metrics(step: int, *, at_end: bool = False) -> dict[str, float]:
    """Return as many metrics as a run reports, of as many digits."""
    names = ("clean", "fgsm", "pgd", "robust", "transfer", "random")
    draw = random.Random(step).random
    accuracy = "{}_accuracy" if _IS_EARLIER else "{}" if at_end else "watch/{}"
    metrics = {accuracy.format(name): draw() for name in names} | {f"{name}_loss": 3 * draw() for name in names}
    times = {"train_s": draw(), "evaluation_s": draw(), "compute": 0.1 * step}
    return {**metrics, **times, "step": step}


class Side:
    """A sweep of this release in a home, and what is done with it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._sweep: Any = None

    def fill(self, num_trials: int) -> None:
        """Make a sweep with that many trials, of one report each."""
        sweep = Folder.create("sweep", SPACE, "storage.yaml", home=self._home, num_trials=num_trials)
        with mock.patch("os.fsync"):
            ledger = ledgers.Ledger(sweep)
            for _ in range(num_trials):
                ledger.complete(ledger.next_run().key, _metrics(1, at_end=True))

    def records(self) -> None:
        """Read every run, as each command that shows results does."""
        readers.read_records(Folder.open("sweep", home=self._home))

    def opening(self) -> None:
        """Open the ledger, as a driver does that resumes."""
        ledgers.Ledger(Folder.open("sweep", home=self._home))

    def prepare_driver(self) -> None:
        """Make a sweep for reports."""
        sweep = Folder.create("reports", SPACE, "storage.yaml", home=self._home, num_trials=10**6)
        self._ledger = ledgers.Ledger(sweep)
        self._step = 0

    def driver(self) -> None:
        """Record the reports of one run."""
        key = self._ledger.next_run().key
        for step in range(1, NUM_REPORTS):
            self._ledger.report(key, _metrics(step))
        self._ledger.complete(key, _metrics(NUM_REPORTS, at_end=True))

    def prepare_worker(self) -> None:
        """Make a run whose training does nothing."""
        self._trainable = _idle_run(self._home)

    def worker(self) -> None:
        """Report, with a checkpoint each."""
        for _ in range(NUM_REPORTS):
            self._trainable.step()


class IdleLoop:
    """Training that takes no time, with the state of a small network."""

    done = False

    def __init__(self) -> None:
        import torch

        self.num_reports = 0
        self._tensors = {name: torch.rand(NUM_WEIGHTS) for name in ("weights", "exp_avg", "exp_avg_sq")}

    def step(self) -> dict[str, float]:
        self.num_reports += 1
        return _metrics(self.num_reports)

    def state(self) -> dict[str, Any]:
        return {"num_reports": self.num_reports, **self._tensors}


def _idle_run(home: Path) -> Any:
    """Return the trainable of a release with a run that has begun."""
    settings = {"trainable": "gan", "seed": 0, "compute": 20.0}
    folder = home / "worker" / "trials" / "0000"
    trainables = _module("trainables.worker.trainable", "trainables.ray_trainable")
    if _IS_EARLIER:
        trainable = trainables.RunTrainable({"key": "trial-0000", "folder": str(folder), "settings": settings})
        trainable._attempt.begin()
    else:
        trainable = _idle_run_in_a_guarded_folder(trainables, home / "worker", folder, settings)
    trainable._loop = IdleLoop()
    return trainable


def _idle_run_in_a_guarded_folder(trainables: Any, sweep: Path, folder: Path, settings: dict[str, Any]) -> Any:
    from trainables.storage.folder_guard import FolderGuard
    from trainables.worker.context import RunTask, WorkerContext

    sweep_id = "0" * 32
    sweep.mkdir()
    (sweep / "sweep.json").write_text(json.dumps({"id": sweep_id}))
    context = WorkerContext(sweep_folder=str(sweep), sweep_id=sweep_id)
    task = RunTask("trial-0000", str(folder), settings, context, sweep=sweep_id)
    trainable = trainables.RunTrainable(task.to_config())
    trainable._attempt.begin(FolderGuard(sweep, sweep_id))
    return trainable


def main(home: Path) -> None:
    """Serve until the input ends."""
    side = Side(home)
    for line in sys.stdin:
        name, *arguments = line.split()
        gc.collect()
        started = time.process_time()
        getattr(side, name)(*map(int, arguments))
        os.write(1, b"%.6f\n" % (time.process_time() - started))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
