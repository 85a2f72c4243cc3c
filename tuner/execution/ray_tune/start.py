"""Starts Ray on this machine, or connects to the cluster that ``RAY_ADDRESS`` names."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ray
from rich.console import Console

from trainables.common.process_state import environment, safe_path, source_folders
from tuner.cluster import local_ray
from tuner.cluster.auth import secure_own_token, token_path
from tuner.cluster.ray_internals import (
    WorkerPath,
    patient_start,
    silence_worker_output,
    started_apart,
    without_cluster_services,
)
from tuner.errors import SweepError, UserError
from tuner.results.terminal.waiting import waiting

_OBJECT_STORE_BYTES = 200 * 1024**2
_START_S = 120.0  # how long Ray's processes may take to start on a busy machine
_starting = threading.Lock()  # of two threads that launch sweeps, one starts Ray for both
_offered: dict[str, str] = {}
"""The number of the only GPU that a Ray of this process offers, empty for all, by the id of its node."""
_RAY_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",  # an idle Python for each processor, which no run takes
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default, chosen now so that it does not warn about it
}


def start_ray(num_cpus: int | None = None, *, insecure: bool = False, gpu: str | None = None) -> None:
    """Start Ray on this machine, or connect to the cluster that ``RAY_ADDRESS`` names.

    Ray ends with this process.

    Args:
        num_cpus: processors to offer; by default all.
        insecure: let a Ray that is started here require no token if ``RAY_AUTH_MODE`` says so.
        gpu: the only GPU of this machine to offer, like ``cuda:1``; by default, and for ``cuda``, all.

    Raises:
        UserError: ``RAY_AUTH_MODE`` turns tokens off, there is no folder for Ray's sockets, or one GPU is to be offered
            and this process has a Ray already.
        SweepError: Ray does not start on this machine.
    """
    number = (gpu or "").partition(":")[2]
    with _starting:
        if not ray.is_initialized():
            with environment(visible_gpu(int(number)) if number else {}):
                _start(num_cpus, insecure)
            _offered[ray.get_runtime_context().get_node_id()] = number
        elif number and _offered.get(ray.get_runtime_context().get_node_id()) != number:
            raise UserError(f"--device {gpu}: this process has a Ray already, with its own GPUs; use another process")


def end_ray(console: Console) -> None:
    """End the Ray that this process has started, or leave the cluster, now rather than with the process.

    Args:
        console: shows that it takes a while.
    """
    if ray.is_initialized():
        with waiting(console, "Ending Ray", in_logs=False):
            ray.shutdown()


def visible_gpu(number: int) -> dict[str, str]:
    """Return the environment variable with which a process sees one GPU of those that this process sees."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return {"CUDA_VISIBLE_DEVICES": visible[number] if number < len(visible) else str(number)}


def _start(num_cpus: int | None, insecure: bool) -> None:
    options: dict[str, Any] = {}
    services: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if local_ray.is_wanted():
        local_ray.check_authentication(insecure=insecure)
        secure_own_token()
        # Without an address, Ray takes any cluster that was ever started on this machine.
        options = {"address": "local", "num_cpus": num_cpus, "include_dashboard": False}
        options |= {"object_store_memory": _OBJECT_STORE_BYTES, "_temp_dir": str(local_ray.session_folder())}
        if local_ray.no_metrics():  # nobody watches this Ray with Prometheus
            services = without_cluster_services()
    silence_worker_output()
    variables = {name: value for name, value in _RAY_VARIABLES.items() if name not in os.environ} | safe_path()
    variables |= local_ray.no_metrics()
    if "HOME" not in os.environ and "RAY_AUTH_TOKEN" not in os.environ:  # Ray would not find the token
        variables["RAY_AUTH_TOKEN_PATH"] = str(token_path())
    patience = patient_start(_START_S) if options else contextlib.nullcontext()
    with signal_handlers_given_back(), environment(variables), started_apart(), patience, services:
        job = WorkerPath(source_folders())
        try:
            _in_lasting_thread(
                lambda: ray.init(log_to_driver=False, logging_level=logging.ERROR, job_config=job, **options)
            )
        except Exception as error:  # of any kind: that of a start that takes too long has none
            if not options:
                raise
            raise SweepError(f"Ray has not started on this machine, which may be too busy: {error}") from error


def _in_lasting_thread(start: Callable[[], object]) -> None:
    """Call something in a thread that lasts as long as this process.

    Linux ends Ray's processes when the thread that has started them ends, which need not be the end of the process.
    """
    if threading.current_thread() is threading.main_thread():
        start()
        return
    errors: list[BaseException] = []
    started = threading.Event()

    def stay() -> None:
        try:
            start()
        except BaseException as error:
            errors.append(error)
        started.set()
        if not errors:
            threading.Event().wait()

    threading.Thread(target=stay, name="ray", daemon=True).start()
    started.wait()
    if errors:
        raise errors[0]


@contextlib.contextmanager
def signal_handlers_given_back() -> Iterator[None]:
    """Ray puts a handler of its own over SIGTERM, and Tune leaves one that swallows the first Ctrl-C after `fit`."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
