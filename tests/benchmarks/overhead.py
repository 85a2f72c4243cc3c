"""What our own code costs per trial beyond what Ray Tune costs: 500 trials that do nothing, with and without us."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from rich.console import Console
from rich.table import Table

from search_spaces import text_of
from tests.benchmarks.slots import temporary_home
from tuner.execution import execute, start_ray
from tuner.ledger import Ledger
from tuner.live import LiveTable
from tuner.mirror import Mirror
from tuner.records import Record
from tuner.sweep import Sweep
from tuner.tracking import MlflowWriter

AIM_MS = 60
NUM_TRIALS = 500
ENDS = 100
"""Trials at either end of a sweep that are compared: what grows with the number of trials shows there."""

_METRICS = {"clean_accuracy": 0.9, "fgsm_accuracy": 0.5, "pgd_accuracy": 0.4, "robust_accuracy": 0.4}
_RESULT = {"metrics": {**_METRICS, "step": 1, "compute": 1.0, "train_s": 0.0, "evaluation_s": 0.0}, "finished": True}


class Trivial(tune.Trainable):
    """Ends at its first step, with the result of a run that has spent its compute."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        return dict(_RESULT)


class Clock(tune.Callback):
    """Notes when trials end; as an observer of a ledger, too."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.ended: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.ended.append(time.perf_counter())

    def changed(self, record: Record) -> None:
        if record.state != "running":
            self.ended.append(time.perf_counter())

    def per_trial_ms(self, first: int, last: int) -> float:
        """Return the mean time from the end of one trial to the end of the next, over a part of the sweep."""
        times = [self.started, *self.ended]
        return 1000 * (times[last] - times[first]) / (last - first)


def measure() -> Table:
    """Run the trials three times in one Ray and return the time per trial."""
    start_ray()
    with temporary_home() as home:
        sweeps = {
            "Ray Tune alone": lambda: _plain(home / "plain", NUM_TRIALS),
            "without MLflow": lambda: _ours(home, "unseen", mirrored=False),
            "ours": lambda: _ours(home, "mirrored", mirrored=True),
        }
        _plain(home / "warm-up", 20)  # the first processes of a new Ray start slowly
        clocks = {name: run() for name, run in sweeps.items()}
    ray.shutdown()
    table = Table(title=f"overhead: {NUM_TRIALS} trials that do nothing")
    for name in ("ms per trial", "all", f"first {ENDS}", f"last {ENDS}", "beyond Ray", "ratio", "aim"):
        table.add_column(name, justify="left" if name == "ms per trial" else "right")
    base_ms = clocks["Ray Tune alone"].per_trial_ms(0, NUM_TRIALS)
    for name, clock in clocks.items():
        parts = [(0, NUM_TRIALS), (0, ENDS), (NUM_TRIALS - ENDS, NUM_TRIALS)]
        times = [clock.per_trial_ms(*part) for part in parts]
        beyond = times[0] - base_ms
        extra = (
            (f"{beyond:.0f}", f"{times[0] / base_ms:.2f}", f"< {AIM_MS}") if name != "Ray Tune alone" else ("", "", "")
        )
        table.add_row(name, *(f"{value:.0f}" for value in times), *extra)
    return table


def _plain(folder: Path, num_trials: int) -> Clock:
    """Run the trials with Ray Tune alone: same slots, actors reused, nothing written by its loggers."""
    clock = Clock()
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**6)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    tune.Tuner(
        tune.with_resources(Trivial, {"cpu": 1}),
        param_space={"x": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(
            num_samples=num_trials,
            max_concurrent_trials=int(ray.cluster_resources()["CPU"]),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            name="plain",
            verbose=0,
            stop={"training_iteration": 1},
            callbacks=[clock],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    return clock


def _ours(home: Path, name: str, *, mirrored: bool) -> Clock:
    """Run the trials of the packaged space `quick` as `tuner.driver` does, but for what trains them."""
    text, source = text_of("quick")
    sweep = Sweep.create(name, text.replace("baselines: [standard, fgsm_retraining]", ""), source, home=home)
    sweep = sweep.extended(NUM_TRIALS)
    resources, budget = sweep.space.resources, sweep.space.budget
    with Path(os.devnull).open("w") as nowhere, sweep.lock():
        console = Console(file=nowhere)
        clock = Clock()
        ledger = Ledger(sweep)
        provenance = json.loads((sweep.folder / "provenance.json").read_text())
        mirror = Mirror(lambda: MlflowWriter(sweep, provenance), console.print) if mirrored else None
        live = LiveTable(ledger, console, compute=budget.compute, mode="max")
        with live:
            execute(ledger, resources, [*([mirror] if mirror else []), live, clock], trainable=Trivial)
        if mirror:
            mirror.close(60.0, state="completed", winner=None, pictures=[])
    assert ledger.is_complete
    return clock
