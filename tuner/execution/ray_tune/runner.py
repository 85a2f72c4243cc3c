"""Ray runs what the ledger hands out, as many at once as the cluster has room for and other sweeps leave.

`Tuner.restore` is never called: after a crash a new Tune run starts, and the ledger hands out unfinished runs first.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence

from ray import tune

from trainables.common.process_state import environment, loggers_kept
from trainables.worker.context import WorkerContext
from trainables.worker.trainable import RunTrainable
from tuner.cluster.ray_internals import environment_not_copied, snapshot_only_at_end
from tuner.execution.dispatcher import Dispatcher, Observer
from tuner.execution.failures import FailurePolicy
from tuner.execution.ray_tune.capacity import Capacity, await_machines
from tuner.execution.ray_tune.gpu_plan import RunResources
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


def _bundle(cpu: float, gpu: float) -> tune.PlacementGroupFactory:
    """Return what one run asks Ray for: a share of a GPU that can be larger than that of the others."""
    return tune.PlacementGroupFactory([RunResources(cpu, gpu).amounts])


def execute(
    ledger: RunQueue,
    resources: RunResources,
    observers: Sequence[Observer] = (),
    *,
    context: WorkerContext = _NO_CONTEXT,
    trainable: type[tune.Trainable] = RunTrainable,
    timeout_s: float | None = None,
    is_winding_down: Callable[[], bool] = lambda: False,
    max_concurrent: int | None = None,
    name: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Train the ledger's runs on Ray until it hands out no more, or until Ctrl-C.

    Args:
        ledger: opened by the caller, who holds the sweep's lock.
        resources: of one run.
        observers: told of every change.
        context: where workers find the sweep's storage and data, see `node_checks.verify_nodes`.
        trainable: what trains a run; results as `RunTrainable` gives them.
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
    policy = FailurePolicy(timeout_s, is_winding_down=is_winding_down, gpu=resources.gpu)
    dispatcher = Dispatcher(ledger, policy, observers, tell=tell)
    folder = tempfile.TemporaryDirectory(prefix="tuner-", ignore_cleanup_errors=True)
    capacity = Capacity(name or uuid.uuid4().hex, resources, max_concurrent, lambda: dispatcher.num_wanted)
    with _quiet_tune(), folder as scratch, capacity:
        dispatcher.limit = lambda: capacity.limit
        tune.Tuner(
            tune.with_resources(trainable, lambda config: _bundle(resources.cpu, config["gpu"])),
            tune_config=tune.TuneConfig(
                search_alg=LedgerSearcher(dispatcher, context),
                scheduler=LedgerScheduler(dispatcher, capacity),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="tune",
                verbose=0,
                callbacks=[LedgerCallback(dispatcher, tell), NoProgress()],
                stop=FailureStopper(dispatcher),
                # Runs save themselves (see `RunTrainable`); Tune would save them once more at their end.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                # The failure policy counts deaths of workers: those of their machines are no run's fault.
                failure_config=tune.FailureConfig(max_failures=-1),
            ),
        ).fit()
    if policy.fatal is not None:
        raise policy.fatal
