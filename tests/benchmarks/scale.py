"""Ten thousand trials of a second on a cluster of virtual processors: wall time and memory beside plain Ray Tune's.

The cluster's nodes are on this machine and promise more processors than it has, which trials that sleep do not mind.
Both sides draw at random (`asks` measures what a searcher takes to think), mirror into a local MLflow database and
reuse their actors, which plain Ray Tune does only when asked to.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.cluster_utils import Cluster
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.overhead import Clock
from tests.benchmarks.slots import temporary_home
from tests.benchmarks.trivial import OursSecond, PlainSecond
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.ray_tune.runner import execute
from tuner.results.terminal.live import LiveTable
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.tracking.mirror import Mirror
from tuner.tracking.writer import MlflowWriter

NUM_TRIALS = 10_000
NODES, CPUS = 4, 6
PATIENCE_S = 3600
"""After which the other side is stopped, wherever it is."""
SPACE = """
name: scale
trainable: gan
dataset: {name: digits, validation: 200}
budget: {trials: 1, compute: 2}
search: {sampler: random}
parameters:
  classifier: {learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
  generator:
    learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
    perturbation_bound: {float: [0.1, 0.5]}
"""
PARTS = 5
"""Of the sweep, in each of which a trial's time is shown: what grows with the number of trials shows there."""


def measure() -> Table:
    """Run both sides, each in a process and on a cluster of its own."""
    sides: dict[str, Callable[[], Clock]] = {"ours": ours, "plain Ray Tune, actors reused": plain}
    clocks = {name: _in_a_process(run) for name, run in sides.items()}
    ideal_s = NUM_TRIALS / (NODES * CPUS)
    table = Table(title=f"scale: {NUM_TRIALS} trials of a second on {NODES} nodes of {CPUS} virtual processors")
    parts = [f"ms, {part + 1} of {PARTS}" for part in range(PARTS)]
    for name in ("side", "trials", "wall s", *parts, "MB at 1,000", "MB at the end"):
        table.add_column(name, justify="left" if name == "side" else "right")
    for name, clock in clocks.items():
        num = len(clock.ended_s) - 1
        bounds = [round(num * part / PARTS) for part in range(PARTS + 1)]
        times = [1000 * (clock.ended_s[b] - clock.ended_s[a]) / (b - a) for a, b in itertools.pairwise(bounds)]
        wall_s = clock.ended_s[-1] - clock.ended_s[0] + clock.after_s
        memory = [clock.memory_mb[min(1000, num)], clock.memory_mb[-1]]
        table.add_row(name, f"{num}", f"{wall_s:.0f}", *(f"{ms:.0f}" for ms in times), *(f"{mb:.0f}" for mb in memory))
    table.caption = (
        f"no faster than {ideal_s:.0f} s by the trials alone; aims for ours: no slower than plain, flat memory; "
        f"a side that is not done in {math.ceil(PATIENCE_S / 60)} minutes is stopped"
    )
    return table


def _in_a_process(run: Callable[[], Clock]) -> Clock:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run).result()


@contextmanager
def _cluster() -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": CPUS, "object_store_memory": 100 * 1024**2}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(NODES - 1):
        cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def ours() -> Clock:
    """Run the trials as `tuner.execution.driver` does, but for what trains them."""
    clock = Clock()
    with temporary_home() as home, _cluster(), Path(os.devnull).open("w") as nowhere:
        sweep = SweepFolder.create("ours", SPACE, "scale.yaml", home=home, num_trials=NUM_TRIALS)
        with sweep.lock():
            console = Console(file=nowhere)
            ledger = Ledger(sweep)
            live = LiveTable(ledger, console, budget=sweep.space.budget, mode="max")
            with Mirror(lambda: MlflowWriter(sweep), console.print) as mirror:
                with live:
                    execute(ledger, RunResources(), [mirror, live, clock], trainable=OursSecond)
                if not mirror.close(600.0, state="completed", winners=(), pictures={}):
                    raise RuntimeError("the mirror was not brought up to date")
            clock.after_s = time.perf_counter() - clock.ended_s[-1]
    return clock


def plain() -> Clock:
    """Run the trials as Ray Tune's documentation shows, with Optuna and MLflow."""
    clock = Clock()
    with temporary_home() as home, _cluster():
        tune.Tuner(
            tune.with_resources(PlainSecond, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(_choose, "robust", "max", sampler=optuna.samplers.RandomSampler(seed=0)),
                num_samples=NUM_TRIALS,
                max_concurrent_trials=NODES * CPUS,
                reuse_actors=True,
                time_budget_s=PATIENCE_S,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                storage_path=str(home / "plain"),
                name="plain",
                verbose=0,
                stop={"training_iteration": 1},
                callbacks=[
                    clock,
                    MLflowLoggerCallback(tracking_uri=f"sqlite:///{home / 'plain.db'}", experiment_name="plain"),
                ],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
        clock.after_s = time.perf_counter() - clock.ended_s[-1]
    return clock


def _choose(trial: optuna.Trial) -> dict[str, Any] | None:
    """Choose the parameters of `SPACE`. Tune pickles the function."""
    for name in ("classifier.learning_rate", "generator.learning_rate"):
        trial.suggest_float(name, 1e-4, 1e-2, log=True)
    trial.suggest_float("generator.perturbation_bound", 0.1, 0.5)
    return None
