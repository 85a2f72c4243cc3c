"""Ray runs what the ledger hands out. Searcher and scheduler are thin adapters: every decision is the ledger's.

`Tuner.restore` is never called: after a crash a new Tune run starts, and the ledger hands out unfinished runs first.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search_spaces.schema import Resources
from trainables.ray_trainable import RunTrainable
from tuner.errors import UserError
from tuner.open_runs import RunQueue
from tuner.records import Record

# A worker that dies is tried again from its run's checkpoint this often. What training itself raises never gets here.
_INFRASTRUCTURE_RETRIES = 3
_OBJECT_STORE_BYTES = 200 * 1024**2


class Observer(Protocol):
    """Is told of every change in the ledger, in the driver's main thread: must return at once."""

    def changed(self, record: Record) -> None:
        """Take note of a run that started, reported or ended."""
        ...


class LedgerSearcher(Searcher):
    """Hands the ledger's runs to Tune."""

    def __init__(self, ledger: RunQueue, data: str | None, changed: Callable[[str], None]) -> None:
        super().__init__()
        self._ledger = ledger
        self._data = data
        self._changed = changed

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """Return the next run as a Tune configuration."""
        run = self._ledger.next_run()
        if run is None:
            return str(Searcher.FINISHED)
        self._changed(run.key)
        return {"key": run.key, "folder": str(run.folder), "settings": run.settings, "data": self._data}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles what it is given, for a restore that is never called; an open ledger cannot be pickled.
        return {}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the scheduler has told the ledger."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is always saved."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger needs no restoring."""


class LedgerScheduler(FIFOScheduler):
    """Takes every result to the ledger, and stops the runs that it says are over."""

    def __init__(self, ledger: RunQueue, changed: Callable[[str], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ledger = ledger
        self._changed = changed

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see LedgerSearcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return STOP for a run that is pruned, complete or failed."""
        key = trial.config["key"]
        metrics = {
            name.removeprefix("metrics/"): value for name, value in result.items() if name.startswith("metrics/")
        }
        if "failure" in result:
            self._ledger.fail(key, f"{result['failure']}: {result['reason']}")
            goes_on = False
        elif result["finished"]:
            self._ledger.complete(key, metrics)
            goes_on = False
        else:
            goes_on = self._ledger.report(key, metrics)
        self._changed(key)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)


class LedgerCallback(tune.Callback):
    """Tells the ledger of runs whose worker died more often than it is retried (the scheduler hears of every death)."""

    def __init__(self, ledger: RunQueue, changed: Callable[[str], None]) -> None:
        super().__init__()
        self._ledger = ledger
        self._changed = changed

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see LedgerSearcher

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Say that a run cannot go on."""
        key = trial.config["key"]
        self._ledger.fail(key, f"worker: {trial.get_error()}")
        self._changed(key)


def start_ray(num_cpus: int | None = None) -> None:
    """Start Ray on this machine, or connect to the cluster that ``RAY_ADDRESS`` names."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's coming default, chosen now so that it does not warn about it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            num_cpus=num_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
        )


def num_slots(resources: Resources) -> int:
    """Return how many runs fit the cluster at once.

    Raises:
        UserError: not even one does.
    """
    there = ray.cluster_resources()
    wanted = {"CPU": resources.cpu, "GPU": resources.gpu}
    for name, amount in wanted.items():
        has = there.get(name, 0.0)
        if amount > has:
            raise UserError(f"a run asks for {amount:g} {name}, the cluster has {has:g}: lower `resources`")
    return int(min(there.get(name, 0.0) // amount for name, amount in wanted.items() if amount > 0))


def execute(
    ledger: RunQueue,
    resources: Resources,
    observers: Sequence[Observer] = (),
    *,
    data: str | None = None,
    trainable: type[tune.Trainable] = RunTrainable,
) -> None:
    """Train the ledger's runs on Ray until it hands out no more, or until Ctrl-C.

    Args:
        ledger: opened by the caller, who holds the sweep's lock.
        resources: of one run.
        observers: told of every change.
        data: folder of the dataset's files on every node, if they are not in the cache.
        trainable: what trains a run; results as `RunTrainable` gives them.
    """
    slots = num_slots(resources)

    def changed(key: str) -> None:
        for observer in observers:
            observer.changed(ledger.records[key])

    # Tune's own snapshots are not used, so they go where nobody looks, seldom; and its progress output is not ours.
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**6)
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    with tempfile.TemporaryDirectory(prefix="tuner-", ignore_cleanup_errors=True) as scratch:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": resources.cpu, "gpu": resources.gpu}),
            tune_config=tune.TuneConfig(
                search_alg=LedgerSearcher(ledger, data, changed),
                scheduler=LedgerScheduler(ledger, changed),
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="tune",
                verbose=0,
                callbacks=[LedgerCallback(ledger, changed)],
                # Runs save themselves (see `RunTrainable`); Tune would save them once more at their end.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=_INFRASTRUCTURE_RETRIES),
            ),
        ).fit()
