"""Ray runs what the ledger hands out, as many at once as the cluster has room for and other sweeps leave.

`Tuner.restore` is never called: after a crash a new Tune run starts, and the ledger hands out unfinished runs first.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ray import tune

from trainables.common.process_state import environment, loggers_kept
from trainables.worker.context import WorkerContext
from trainables.worker.pack_server import PackedRun
from trainables.worker.packed import PackedTrainable
from trainables.worker.trainable import RunTrainable
from tuner.cluster.ray_internals import environment_not_copied, snapshot_only_at_end
from tuner.execution.dispatcher import Dispatcher, Observer
from tuner.execution.failures import FailurePolicy
from tuner.execution.ray_tune.capacity import Capacity, await_machines
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.ray_tune.packs import Packs, RayPack
from tuner.execution.ray_tune.start import signal_handlers_given_back
from tuner.execution.ray_tune.tune_adapters import (
    FailureStopper,
    LedgerCallback,
    LedgerScheduler,
    LedgerSearcher,
    NoProgress,
)
from tuner.search.open_runs import RunQueue

_NO_CONTEXT = WorkerContext()
_TUNE_VARIABLES = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # observers show progress, Tune does not
    "TUNE_MAX_PENDING_TRIALS_PG": str(10**6),  # the dispatcher decides how many runs wait
}


@contextlib.contextmanager
def _quiet_tune() -> Iterator[None]:
    with (
        signal_handlers_given_back(),
        environment(_TUNE_VARIABLES),
        environment_not_copied(),
        snapshot_only_at_end(),
        loggers_kept(["ray"]),
    ):
        logging.getLogger("ray").setLevel(logging.ERROR)  # Ray may have been started by somebody else
        yield


_OF_A_THIN_TRIAL = {"memory": 1.0}
"""What a trial asks Ray for whose run trains in a pack: next to nothing, but Ray does not take nothing."""


def _bundle(cpu: float, gpu: float) -> tune.PlacementGroupFactory:
    """Return what one run asks Ray for: a share of a GPU that can be larger than that of the others."""
    return tune.PlacementGroupFactory([RunResources(cpu, gpu).amounts])


def execute(
    ledger: RunQueue,
    resources: RunResources,
    observers: Sequence[Observer] = (),
    *,
    context: WorkerContext = _NO_CONTEXT,
    trainable: type[tune.Trainable | PackedRun] | None = None,
    timeout_s: float | None = None,
    is_winding_down: Callable[[], bool] = lambda: False,
    max_concurrent: int | None = None,
    name: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Train the ledger's runs on Ray until it hands out no more, or until Ctrl-C.

    Args:
        ledger: opened by the caller, who holds the sweep's lock.
        resources: of one run, or of one pack.
        observers: told of every change.
        context: where workers find the sweep's storage and data, see `node_checks.verify_nodes`.
        trainable: what trains a run, by default `RunTrainable`, whose results it gives; in packs what does the work at
            one run, by default `PackedRun`.
        timeout_s: how long a run may go without a report before its worker is killed, if there is a limit.
        is_winding_down: asked again and again; once true, no run begins, and each that has begun is requeued at its
            next report, which is in its checkpoint.
        max_concurrent: how many runs may be at work at once; by default as many as fit the cluster. Beside other
            drivers no more than a fair share, see `tuner.execution.ray_tune.fair_share`.
        tell: says to a person what is waited for, and what machines have done to runs.
        name: of this driver among those on the cluster; the next one of the same name takes over what it had.

    Raises:
        UserError: the cluster lacks what a run asks for.
        SweepError: the sweep has given up; the ledger is whole, and what has not ended can go on.
    """
    await_machines(resources, tell)
    policy = FailurePolicy(
        timeout_s, is_winding_down=is_winding_down, gpu=resources.gpu if resources.pack == 1 else 0.0
    )
    dispatcher = Dispatcher(ledger, policy, observers, tell=tell)
    folder = tempfile.TemporaryDirectory(prefix="tuner-", ignore_cleanup_errors=True)
    capacity = Capacity(name or uuid.uuid4().hex, resources, max_concurrent, lambda: dispatcher.num_wanted)
    packs = None
    if resources.pack > 1:
        packs = _packs(dispatcher, capacity, resources, trainable or PackedRun)
    searcher = LedgerSearcher(dispatcher, context, packs)
    with _quiet_tune(), folder as scratch, capacity, contextlib.closing(packs) if packs else contextlib.nullcontext():
        dispatcher.limit = _limit(capacity, packs, max_concurrent)
        tune.Tuner(
            tune.with_resources(
                PackedTrainable if packs else trainable or RunTrainable,
                lambda config: (
                    tune.PlacementGroupFactory([_OF_A_THIN_TRIAL])
                    if config["pack"]
                    else _bundle(resources.cpu, config["gpu"])
                ),
            ),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=LedgerScheduler(dispatcher, capacity, tell, searcher.trials, packs),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="tune",
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # silent; in a notebook the default one clears the cell's output
                callbacks=[LedgerCallback(dispatcher, tell, packs), NoProgress()],
                stop=FailureStopper(dispatcher),
                # Runs save themselves (see `RunTrainable`); Tune would save them once more at their end.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                # The failure policy counts deaths of workers: those of their machines are no run's fault.
                failure_config=tune.FailureConfig(max_failures=-1),
            ),
        ).fit()
    if policy.fatal is not None:
        raise policy.fatal


def _packs(dispatcher: Dispatcher, capacity: Capacity, resources: RunResources, work: Any) -> Packs:
    return Packs(
        resources.pack,
        lambda: RayPack(resources, work),
        # Few runs are spread over the devices, rather than put into one pack.
        lambda: max(min(capacity.limit, dispatcher.num_wanted), 1),
        lambda: capacity.leaving,
        dispatcher.is_running,
        num_fitting=lambda: capacity.num_fitting,
    )


def _limit(capacity: Capacity, packs: Packs | None, max_concurrent: int | None) -> Callable[[], int]:
    """Return how many runs may be at work now."""
    if packs is None:
        return lambda: capacity.limit
    return lambda: packs.num_seats if max_concurrent is None else min(packs.num_seats, max_concurrent)
