"""What a trial costs beside its training: trials that do nothing, through us and through plain Ray Tune.

Plain is what its documentation shows: `OptunaSearch`, the stock `MLflowLoggerCallback`, and actors that are not reused
unless one asks for it. All have the same slots, space and number of metrics, and write into a local database.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.experiment import Trial
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console
from rich.table import Table

from search_spaces import text_of
from search_spaces.configurations import load_space
from search_spaces.schema import Space
from tests.benchmarks.slots import temporary_home
from tests.benchmarks.trivial import Ours, Plain
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.ray_tune.runner import execute
from tuner.execution.ray_tune.start import start_ray
from tuner.execution.ray_tune.tune_adapters import LedgerScheduler, LedgerSearcher
from tuner.results.terminal.live import LiveTable
from tuner.search.distributions import suggest
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Record
from tuner.tracking.mirror import Mirror
from tuner.tracking.writer import MlflowWriter

NUM_TRIALS = 1000
NUM_OTHERS, NUM_ALL_NEW = 300, 100
"""Trials of the other sides, and of the one whose trials have an actor of their own each: they take long."""
ENDS = 100
"""Trials at either end of a sweep that are compared: what grows with the number of trials shows there."""
AIM_BEYOND_MS, AIM_GROWTH, AIM_MB, AIM_RATIO = 60, 1.5, 200, 3


class Clock(tune.Callback):
    """Notes time and memory whenever a trial ends, and how long our own code took; an observer of a ledger, too."""

    def __init__(self) -> None:
        self.ended_s = [time.perf_counter()]
        self.ours_s = [0.0]
        self.memory_mb = [memory_mb()]
        self.after_s = 0.0  # that the end of the sweep takes

    def note(self) -> None:
        self.ended_s.append(time.perf_counter())
        self.ours_s.append(self.ours_s[-1])
        self.memory_mb.append(memory_mb())

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.note()

    def changed(self, record: Record) -> None:
        if record.state != "running":
            self.note()

    @contextmanager
    def watching(self, cls: type, method: str) -> Iterator[None]:
        """Add up the processor time that a method takes."""
        real = getattr(cls, method)

        def timed(*args: Any) -> Any:
            started = time.thread_time()
            try:
                return real(*args)
            finally:
                self.ours_s[-1] += time.thread_time() - started

        with mock.patch.object(cls, method, timed):
            yield

    def measured(self) -> dict[str, float]:
        """Return milliseconds per trial over the whole sweep and at its ends, and MB that the driver grew by."""
        num = len(self.ended_s) - 1
        ends = min(ENDS, num // 2)
        parts = {"all": (0, num), "first": (0, ends), "last": (num - ends, num)}
        wall = {name: 1000 * (self.ended_s[b] - self.ended_s[a]) / (b - a) for name, (a, b) in parts.items()}
        wall["all"] += 1000 * self.after_s / num
        ours = {f"{name} ours": 1000 * (self.ours_s[b] - self.ours_s[a]) / (b - a) for name, (a, b) in parts.items()}
        return {"num": num, **wall, **ours, "MB": self.memory_mb[-1] - self.memory_mb[ends]}


def memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2


def measure() -> Table:
    """Run every side in a process and a Ray of its own, one after the other."""
    sides: dict[str, Callable[[Path], dict[str, float]]] = {
        "Ray Tune alone, actors reused": _bare,
        "ours": _ours,
        "plain, actors reused": _plain_reused,
        "plain, as by default": _plain_new,
    }
    measured = {name: in_a_process(run) for name, run in sides.items()}
    table = Table(title="overhead: trials that do nothing, milliseconds per trial")
    for name in ("side", "trials", "all", f"first {ENDS}", f"last {ENDS}", "last / first", "MB grown", "ours is"):
        table.add_column(name, justify="left" if name == "side" else "right")
    ours = measured["ours"]
    for name, of in measured.items():
        times = [f"{of[part]:.0f}" for part in ("all", "first", "last")]
        growth = f"{of['last'] / of['first']:.2f}"
        ratio = "" if name == "ours" else f"{of['all'] / ours['all']:.2f} x"
        table.add_row(name, f"{of['num']:.0f}", *times, growth, f"{of['MB']:.0f}", ratio)
    parts = [ours[f"{part} ours"] for part in ("all", "first", "last")]
    table.add_section()
    table.add_row(
        "processor time of our code in the driver's main thread",
        "",
        *(f"{ms:.1f}" for ms in parts),
        f"{parts[2] / parts[1]:.2f}",
        "",
        "",
    )
    beyond = ours["all"] - measured["Ray Tune alone, actors reused"]["all"]
    table.caption = (
        f"beyond Ray Tune alone {beyond:.0f} ms (aim: < {AIM_BEYOND_MS}); aims for ours: last / first <= {AIM_GROWTH}, "
        f"memory < {AIM_MB} MB after the first {ENDS} trials, >= {AIM_RATIO} x plain as by default"
    )
    return table


def in_a_process(run: Callable[[Path], dict[str, float]]) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, run))
    process.start()
    there.close()
    measured: dict[str, float] = here.recv()
    process.join()
    return measured


def _serve(answer: Connection, run: Callable[[Path], dict[str, float]]) -> None:
    with temporary_home() as home:
        start_ray()
        _tune(home / "warm-up", 20, Clock(), reused=True)  # the first processes of a new Ray start slowly
        answer.send(run(home))
        ray.shutdown()


def _bare(home: Path) -> dict[str, float]:
    clock = Clock()
    _tune(home / "bare", NUM_OTHERS, clock, reused=True)
    return clock.measured()


def _plain_reused(home: Path) -> dict[str, float]:
    return _plain(home, NUM_OTHERS, reused=True)


def _plain_new(home: Path) -> dict[str, float]:
    return _plain(home, NUM_ALL_NEW, reused=False)


def _plain(home: Path, num_trials: int, *, reused: bool) -> dict[str, float]:
    for name in ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "TUNE_GLOBAL_CHECKPOINT_S"):
        os.environ.pop(name, None)
    objective = _quick().objective
    clock = Clock()
    _tune(
        home / "plain",
        num_trials,
        clock,
        reused=reused,
        search=OptunaSearch(_choose, objective.metric, objective.mode, seed=0),
        callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{home / 'plain.db'}", experiment_name="plain")],
    )
    return clock.measured()


@functools.cache
def _quick() -> Space:
    return load_space("quick")


def _choose(optuna_trial: optuna.Trial) -> None:
    """Choose the parameters of `quick`. Tune pickles the function."""
    _quick().settings(lambda one: suggest(optuna_trial, one))


def _tune(
    folder: Path,
    num_trials: int,
    clock: Clock,
    *,
    reused: bool,
    search: OptunaSearch | None = None,
    callbacks: list[tune.Callback] | None = None,
) -> None:
    """Run trials without us; with neither search nor callbacks, without anything that Tune can do without."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    if search is None:
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**6)
    tune.Tuner(
        tune.with_resources(Plain, {"cpu": 1}),
        param_space={"x": tune.uniform(0.0, 1.0)} if search is None else {},
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=num_trials,
            max_concurrent_trials=int(ray.cluster_resources()["CPU"]),
            reuse_actors=reused,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            name="plain",
            verbose=0,
            stop={"training_iteration": 1},
            callbacks=[clock, *(callbacks or [])],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()


def _ours(home: Path) -> dict[str, float]:
    """Run the trials of the packaged space `quick` as `tuner.execution.driver` does, but for what trains them."""
    text, source = text_of("quick")
    sweep = SweepFolder.create("ours", re.sub("^baselines:.*$", "", text, flags=re.MULTILINE), source, home=home)
    sweep = sweep.extended(NUM_TRIALS)
    resources, budget = RunResources(), sweep.space.budget
    clock = Clock()
    with Path(os.devnull).open("w") as nowhere, sweep.lock():
        console = Console(file=nowhere)
        ledger = Ledger(sweep)
        live = LiveTable(ledger, console, budget=budget, mode="max")
        with Mirror(lambda: MlflowWriter(sweep), console.print) as mirror:
            with live, clock.watching(LedgerSearcher, "suggest"), clock.watching(LedgerScheduler, "on_trial_result"):
                execute(ledger, resources, [mirror, live, clock], trainable=Ours)
            if not mirror.close(300.0, state="completed", winners=(), pictures={}):
                raise RuntimeError("the mirror was not brought up to date")
        clock.after_s = time.perf_counter() - clock.ended_s[-1]
    return clock.measured()
