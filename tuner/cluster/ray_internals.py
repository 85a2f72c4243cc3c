"""Every name of Ray that Ray does not document; no other module uses one.

Such a name may change or vanish with any release of Ray. ``pyproject.toml`` therefore allows only the minor release
that was tested, and a test calls `missing_names`, which lists what an installed release lacks.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray
import requests
from ray._private import node, ray_constants, ray_logging, services, state, utils
from ray.experimental import internal_kv
from ray.job_config import JobConfig
from ray.job_submission import JobSubmissionClient
from ray.tune.execution import class_cache

from trainables.common.retries import RetryPolicy

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

_KEY_VALUE = ("_internal_kv_get", "_internal_kv_put", "_internal_kv_del", "_internal_kv_list")
_SERVICES_OF_A_CLUSTER = ("start_api_server", "start_log_monitor", "start_monitor")
_CONTROLLER_METHODS = ("_cleanup_cached_actors", "_unstage_trial_with_resources", "checkpoint", "stop_trial")
_CONTROLLER_ATTRIBUTES = (
    "_failed_trials",
    "_live_trials",
    "_pending_trials",
    "_resetting_trials",
    "_staged_trials",
    "_stopped_trials",
    "_trial_to_actor",
    "_trials",
    "_trials_to_cache",
)


def missing_names() -> list[str]:
    """Return the names used in this module that the installed Ray lacks, like ``TuneController._trials``."""
    from ray._private.state import GlobalState
    from ray.tune.execution.tune_controller import TrialRunnerWrapper, TuneController

    static: list[tuple[Any, tuple[str, ...]]] = [
        (state, ("state", "actors")),
        (GlobalState, ("get_draining_nodes",)),
        (ray.actor.ActorHandle, ("_actor_id",)),
        (internal_kv, _KEY_VALUE),
        (ray_constants, ("DEBUG_AUTOSCALING_STATUS",)),
        (ray_logging, ("stdout_deduplicator",)),
        (JobSubmissionClient, ("_do_request",)),
        (JobConfig, ("_serialize",)),
        (services, ("ConsolePopen", "get_node")),
        (utils, ("get_dashboard_dependency_error", "get_entrypoint_name")),
        (node.Node, _SERVICES_OF_A_CLUSTER),
        (class_cache, ("ENV_VARS_TO_PROPAGATE",)),
        (TuneController, _CONTROLLER_METHODS),
    ]
    set_in_init: list[tuple[type, tuple[str, ...]]] = [
        (ray_logging.LogDeduplicator, ("skip_re",)),
        (JobSubmissionClient, ("_server_ray_version",)),
        (JobConfig, ("_py_driver_sys_path",)),
        (TrialRunnerWrapper, ("_tune_controller",)),
        (TuneController, _CONTROLLER_ATTRIBUTES),
    ]
    lacking = [(owner, name) for owner, names in static for name in names if not hasattr(owner, name)]
    lacking += [(owner, name) for owner, names in set_in_init for name in names if name not in _set_in_init(owner)]
    return [f"{owner.__name__}.{name}" for owner, name in lacking]


def _set_in_init(owner: type) -> set[str]:
    """Return the names that the constructors of a class and of its bases use; its attributes are among them."""
    codes = [getattr(vars(cls).get("__init__"), "__code__", None) for cls in owner.__mro__]
    return {name for code in codes if code is not None for name in code.co_names}


class WorkerPath(JobConfig):
    """A job whose workers look for modules in the given folders first; Ray's own adds the driver's current folder.

    Args:
        folders: on every node; what is installed there needs none.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        super().__init__()
        self._folders = list(folders)

    def _serialize(self) -> str:
        self._py_driver_sys_path = self._folders
        serialized: str = super()._serialize()
        return serialized


class _OwnSession(services.ConsolePopen):
    """A process in a session of its own, which no signal to this process's group or terminal reaches."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, start_new_session=True)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def started_apart() -> Iterator[None]:
    """Keep what `ray.init` starts meanwhile apart from this process's terminal, process group and command line.

    SIGTERM to the group, as ``timeout`` sends it, would end Ray's processes before the driver has ended in order. The
    command line would be shown to everybody on the cluster.
    """
    with (
        _replaced(services, "ConsolePopen", _OwnSession),
        _replaced(utils, "get_entrypoint_name", lambda: "adversarial-tuner"),
    ):
        yield


@contextlib.contextmanager
def without_cluster_services() -> Iterator[None]:
    """Let `ray.init` start only what runs on one machine need.

    These are the processes left out: the dashboard, which Ray starts without its pages, too, the autoscaler, and the
    monitor that would send workers' output to the driver. The agent of the node, without which it would end, goes
    without its web server and its statistics, as where only ``ray`` is installed, not ``ray[default]``.
    """
    with contextlib.ExitStack() as stack:
        for name in _SERVICES_OF_A_CLUSTER:
            stack.enter_context(_replaced(node.Node, name, lambda self, **options: None))
        stack.enter_context(_replaced(utils, "get_dashboard_dependency_error", ImportError))
        yield


@contextlib.contextmanager
def patient_start(patience_s: float) -> Iterator[None]:
    """Let `ray.init` wait longer for the node that it starts: Ray itself gives up after half a minute.

    Args:
        patience_s: how long to wait, from now on.
    """
    ask: Callable[..., Any] = services.get_node
    policy = RetryPolicy(first_wait_s=0.1, longest_wait_s=1.0, patience_s=patience_s)

    def get_node(*arguments: Any) -> Any:
        return policy.call(lambda: ask(*arguments), lambda error: isinstance(error, RuntimeError))

    with _replaced(services, "get_node", get_node):
        yield


def environment_not_copied() -> contextlib.AbstractContextManager[None]:
    """Let Tune copy no environment variable of this process into the runtime environment of its trials.

    Tune would copy ``AWS_SECRET_ACCESS_KEY`` and others, which Ray logs in clear. Workers have the environment of their
    node.
    """
    return _replaced(class_cache, "ENV_VARS_TO_PROPAGATE", frozenset())


def snapshot_only_at_end() -> contextlib.AbstractContextManager[None]:
    """Let Tune save its own state when it ends, and not before.

    Nobody reads these snapshots, but Tune refuses to end without one. A second would be written while the first is
    copied in the background, and the copy may fail on its temporary file.
    """
    from ray.tune.execution.tune_controller import TuneController

    checkpoint = TuneController.checkpoint

    def checkpoint_if_forced(self: TuneController, force: bool = False, wait: bool = False) -> None:
        if force:
            checkpoint(self, force=force, wait=wait)

    return _replaced(TuneController, "checkpoint", checkpoint_if_forced)


class JobClient(JobSubmissionClient):
    """Ray's client of the Jobs API with options for every request; Ray's own waits and reads without limit.

    Args:
        address: of the Jobs API, like ``http://head:8265``.
        request_options: of `requests.request`, such as ``timeout``.
        options: passed to `ray.job_submission.JobSubmissionClient`.
    """

    def __init__(self, address: str, request_options: Mapping[str, Any], **options: Any) -> None:
        self._request_options = request_options  # first: the constructor of Ray's client asks for the version
        super().__init__(address, **options)

    def _do_request(self, *arguments: Any, **options: Any) -> requests.Response:
        options |= self._request_options
        return super()._do_request(*arguments, **options)

    @property
    def ray_version(self) -> str | None:
        """The version of Ray on the cluster, as it said when the client connected."""
        return self._server_ray_version


def draining_nodes() -> frozenset[str]:
    """Return the ids of the nodes that are about to be removed: Ray starts no worker there any more."""
    return frozenset(state.state.get_draining_nodes())


def node_of_actor(actor: ray.actor.ActorHandle[Any]) -> str:
    """Return the id of the node that an actor runs on."""
    return str(state.actors(actor._actor_id.hex())["Address"]["NodeID"])


class KeyValueStore:
    """A namespace of the key-value store on the cluster's head. Needs a connection to Ray."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def read(self, key: str) -> bytes | None:
        """Return the value of a key, None if there is none."""
        value: bytes | None = internal_kv._internal_kv_get(key, namespace=self._namespace)
        return value

    def write(self, key: str, value: str) -> None:
        """Set the value of a key."""
        internal_kv._internal_kv_put(key, value, namespace=self._namespace)

    def delete(self, key: str) -> None:
        """Remove a key, if it exists."""
        internal_kv._internal_kv_del(key, namespace=self._namespace)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix."""
        return [key.decode() for key in internal_kv._internal_kv_list(prefix, namespace=self._namespace)]


def autoscaler_launches_nodes() -> bool:
    """Return whether the report of Ray's older autoscaler says that nodes are being launched or about to be."""
    report = json.loads(internal_kv._internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS) or b"{}")
    launches = report.get("autoscaler_report") or {}
    return bool(launches.get("pending_launches") or launches.get("pending_nodes"))


def silence_worker_output() -> None:
    """Print nothing of what Ray's processes write: of a node that dies, that is a page of statistics."""
    ray_logging.stdout_deduplicator.skip_re = re.compile("")


class TuneTrials:
    """The trials of a running `ray.tune.Tuner`.

    Tune has no public way to withdraw a trial that waits for its worker, to release the worker that it keeps for reuse,
    nor to forget trials that have ended.

    Args:
        tune_controller: what Tune passes to `TrialScheduler.choose_trial_to_run`.
    """

    def __init__(self, tune_controller: Any) -> None:
        self._controller = tune_controller._tune_controller

    def waiting(self) -> list[Trial]:
        """Return the trials that wait for a worker, in any order."""
        return [trial for trial in self._controller._pending_trials if trial not in self._controller._resetting_trials]

    def withdraw(self, trial: Trial) -> None:
        """End a trial that waits for its worker, and release the resources that were requested for it."""
        if trial in self._controller._staged_trials:
            self._controller._unstage_trial_with_resources(trial)
        actor = self._controller._trial_to_actor.get(trial)
        if actor is not None:
            actor.set_on_error(None)  # Tune would look up a trial that it no longer knows
        self._controller.stop_trial(trial)

    def release_idle_workers(self) -> None:
        """End the workers that Tune keeps for a next trial, unless one is pending that they could train.

        Another sweep, or a trial that wants more of a GPU, may wait for their resources.
        """
        cache = self._controller._actor_cache
        pending = self._controller._pending_trials
        if not any(cache.has_cached_object(trial.placement_group_factory) for trial in pending):
            self._controller._cleanup_cached_actors(force_all=True)

    def forget_ended(self) -> None:
        """Drop what Tune keeps of trials that have ended, some 60 kB each."""
        controller = self._controller
        ended = controller._stopped_trials | controller._failed_trials
        if not ended:
            return
        controller._trials[:] = [trial for trial in controller._trials if trial not in ended]
        for kept in (
            controller._live_trials,
            controller._trials_to_cache,
            controller._stopped_trials,
            controller._failed_trials,
        ):
            kept.difference_update(ended)
