"""Ray runs what the ledger hands out. Searcher and scheduler are thin adapters: every decision is the ledger's.

`Tuner.restore` is never called: after a crash a new Tune run starts, and the ledger hands out unfinished runs first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search_spaces.schema import Resources
from trainables.ray_trainable import RunTrainable
from tuner.errors import UserError
from tuner.guard import Guard
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

    def __init__(
        self, ledger: RunQueue, guard: Guard, place: Mapping[str, Any], changed: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._ledger = ledger
        self._guard = guard
        self._place = place
        self._changed = changed

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """Return the next run as a Tune configuration."""
        run = None
        with self._guard.storage():
            run = None if self._guard.is_winding_down() else self._ledger.next_run()
        if run is None:
            return str(Searcher.FINISHED)
        self._changed(run.key)
        return {"key": run.key, "folder": str(run.folder), "settings": run.settings, **self._place}

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

    def __init__(self, ledger: RunQueue, guard: Guard, changed: Callable[[str], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ledger = ledger
        self._guard = guard
        self._changed = changed

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see LedgerSearcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return STOP for a run that is pruned, complete or failed, or put back because the driver winds down."""
        goes_on = False
        with self._guard.storage():
            goes_on = self._take_in(trial.config["key"], result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _take_in(self, key: str, result: dict[str, Any]) -> bool:
        metrics = {
            name.removeprefix("metrics/"): value for name, value in result.items() if name.startswith("metrics/")
        }
        if result.get("failure") == "storage":
            self._guard.give_up(result["reason"])
            return False
        self._guard.hear(key)
        if "failure" in result:
            self._ledger.fail(key, f"{result['failure']}: {result['reason']}")
            goes_on = False
        elif result["finished"]:
            self._ledger.complete(key, metrics)
            goes_on = False
        else:
            goes_on = self._ledger.report(key, metrics)
            if goes_on and self._guard.is_winding_down():
                self._ledger.put_back(key)
                goes_on = False
        if not goes_on:
            self._guard.forget(key)
        self._changed(key)
        return goes_on


class LedgerCallback(tune.Callback):
    """Tells the ledger of runs whose worker died more often than it is retried, and ends workers that hang."""

    def __init__(self, ledger: RunQueue, guard: Guard, changed: Callable[[str], None]) -> None:
        super().__init__()
        self._ledger = ledger
        self._guard = guard
        self._changed = changed

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see LedgerSearcher

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Begin to wait for a run's next report."""
        self._guard.hear(trial.config["key"])

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Kill the workers of runs that hang (Tune calls this ten times a second); Ray takes it for a death."""
        self._guard.is_winding_down()  # takes requests as they come: reports may be minutes apart
        hanging = self._guard.hanging()
        for trial in trials if hanging else []:
            key = trial.config["key"]
            worker = trial.temporary_state.ray_actor
            if key in hanging and trial.status == Trial.RUNNING and worker:
                if not self._guard.may_retry(key):
                    trial.max_failures = 0
                ray.kill(worker)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Wait for no report of a run that waits for a new worker."""
        self._guard.forget(trial.config["key"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Say that a run cannot go on."""
        key = trial.config["key"]
        self._guard.forget(key)
        with self._guard.storage():
            self._ledger.fail(key, self._guard.reason(key, _last_error(trial)))
            self._changed(key)


def _last_error(trial: Trial) -> str:
    """Return what Ray says of a worker's last death; `get_error` looks where Tune has not put it yet."""
    path = Path(trial.error_file or "")
    return path.read_text().rpartition("Failure # ")[2].strip() if path.is_file() else "Ray does not say why"


class GuardStopper(tune.Stopper):
    """Ends everything once the sweep is given up."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see LedgerSearcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single run: the scheduler does."""
        return False

    def stop_all(self) -> bool:
        """Return whether the sweep is given up."""
        return self._guard.trouble is not None


def start_ray(num_cpus: int | None = None) -> None:
    """Start Ray on this machine, or connect to the cluster that ``RAY_ADDRESS`` names."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's coming default, chosen now so that it does not warn about it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    own: dict[str, Any] = {"num_cpus": num_cpus, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    # Without an address, Ray takes any cluster that was ever started on this machine.
    where = {} if os.environ.get("RAY_ADDRESS") else {"address": "local", **own}
    with _signal_handlers_given_back():
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)


def num_slots(resources: Resources) -> int:
    """Return how many runs fit the cluster at once, each on one machine.

    Raises:
        UserError: not even one does.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": resources.cpu, "GPU": resources.gpu}
    for name, amount in wanted.items():
        most = max(machine.get(name, 0.0) for machine in machines)
        if amount > most:
            raise UserError(
                f"a run asks for {amount:g} {name}, the cluster has at most {most:g} on one machine: lower `resources`"
            )
    fitting = [
        min(machine.get(name, 0.0) // amount for name, amount in wanted.items() if amount > 0) for machine in machines
    ]
    if not sum(fitting):
        raise UserError(f"no machine of the cluster has both {resources.cpu:g} CPU and {resources.gpu:g} GPU")
    return int(sum(fitting))


@contextlib.contextmanager
def _signal_handlers_given_back() -> Iterator[None]:
    """Ray puts a handler of its own over SIGTERM, and Tune leaves one that swallows the first Ctrl-C after `fit`."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def execute(
    ledger: RunQueue,
    resources: Resources,
    observers: Sequence[Observer] = (),
    *,
    place: Mapping[str, Any] = MappingProxyType({}),
    trainable: type[tune.Trainable] = RunTrainable,
    timeout_s: float | None = None,
    is_winding_down: Callable[[], bool] = lambda: False,
) -> None:
    """Train the ledger's runs on Ray until it hands out no more, or until Ctrl-C.

    Args:
        ledger: opened by the caller, who holds the sweep's lock.
        resources: of one run.
        observers: told of every change.
        place: what workers are told of places, see `tuner.places.prepare`.
        trainable: what trains a run; results as `RunTrainable` gives them.
        timeout_s: how long a run may go without a report before its worker is killed, if there is a limit.
        is_winding_down: asked again and again; once true, no run begins, and each that has begun is put back at its
            next report, which is in its checkpoint.

    Raises:
        UserError: the cluster lacks what a run asks for.
        SweepError: the sweep has given up; the ledger is whole, and what has not ended can go on.
    """
    slots = num_slots(resources)
    guard = Guard(timeout_s, is_winding_down=is_winding_down)

    def changed(key: str) -> None:
        guard.note(ledger.records[key])
        for observer in observers:
            observer.changed(ledger.records[key])

    # Tune's own snapshots are not used, so they go where nobody looks, seldom; and its progress output is not ours.
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**6)
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    folder = tempfile.TemporaryDirectory(prefix="tuner-", ignore_cleanup_errors=True)
    with _signal_handlers_given_back(), folder as scratch:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": resources.cpu, "gpu": resources.gpu}),
            tune_config=tune.TuneConfig(
                search_alg=LedgerSearcher(ledger, guard, place, changed),
                scheduler=LedgerScheduler(ledger, guard, changed),
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="tune",
                verbose=0,
                callbacks=[LedgerCallback(ledger, guard, changed)],
                stop=GuardStopper(guard),
                # Runs save themselves (see `RunTrainable`); Tune would save them once more at their end.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=_INFRASTRUCTURE_RETRIES),
            ),
        ).fit()
    if guard.trouble is not None:
        raise guard.trouble
