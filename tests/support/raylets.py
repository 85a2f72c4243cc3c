"""A cluster of several Ray nodes on this machine, each a raylet of its own, and the workers on them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from unittest import mock

from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION

from tests.support.clusters import RARE_STATISTICS

_NODE = {"object_store_memory": 100 * 1024**2}


class Raylets:
    """Nodes that come and go, each known by its number."""

    def __init__(self, num_cpus: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": num_cpus, "include_dashboard": False, **_NODE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: list[Any] = []

    def address(self) -> str:
        """Return the value of RAY_ADDRESS for this cluster."""
        return str(self._cluster.address)

    def add(self, num_cpus: int, num_gpus: int = 0) -> int:
        """Start another node, and return its number once it has joined; its GPUs exist for Ray only."""
        self._nodes.append(self._cluster.add_node(num_cpus=num_cpus, num_gpus=num_gpus, **_NODE))
        return len(self._nodes) - 1

    def drain(self, number: int) -> None:
        """Announce that a node is taken away in a minute, as a cloud does with a spot instance."""
        gcs, reason = GcsClient(address=self.address()), DRAIN_NODE_REASON_PREEMPTION
        deadline_ms = int(1000 * (time.time() + 60))
        assert gcs.drain_node(self._nodes[number].node_id, reason, "spot", deadline_ms)[0]

    def end(self, number: int, how: signal.Signals) -> None:
        """End a node by SIGKILL, like a crash, which the head notices after a while, or by SIGTERM, like a cloud."""
        os.kill(_raylet(self._nodes[number]), how)
        self._cluster.remove_node(self._nodes[number], allow_graceful=False)

    def workers(self) -> Counter[str]:
        """Return how many workers train runs right now, by the job of their driver."""
        pids = [pid for node in self._cluster.list_all_nodes() for pid in _children(_raylet(node))]
        return Counter(job for pid in pids if "ResourceTrainable" in _read(pid, "cmdline") for job in _jobs(pid))

    def shutdown(self) -> None:
        """End the head and all nodes."""
        self._cluster.shutdown()


class _Elsewhere:
    """Calls the methods of `Raylets` in another process."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments, **options: self._pool.submit(_do, name, arguments, options).result()


_started: list[Raylets] = []


def _do(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if name == "start":
        return _started.append(Raylets(*arguments))
    return getattr(_started[-1], name)(*arguments, **options)


@contextmanager
def raylets(num_cpus: int) -> Iterator[Raylets]:
    """Start a head in a process of its own, because in this one Ray may run already.

    It ends with all its nodes.
    """
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    mine["RAY_health_check_period_ms"] = "1000"  # a dead node is noticed after five of them; by default 3000 each
    mine |= RARE_STATISTICS
    mine["RAY_worker_niceness"] = "0"  # at Ray's own 15, workers hardly ever run beside other tests' processes
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        cluster = _Elsewhere(pool)
        with mock.patch.dict(os.environ, mine, clear=True):
            cluster.start(num_cpus)
        try:
            yield cast(Raylets, cluster)
        finally:
            cluster.shutdown()


def _raylet(node: Any) -> int:
    pid: int = node.all_processes["raylet"][0].process.pid
    return pid


def _children(pid: int) -> list[int]:
    return [int(child) for child in _read(pid, f"task/{pid}/children").split()]


def _jobs(pid: int) -> list[str]:
    return [line.partition("=")[2] for line in _read(pid, "environ").split("\0") if line.startswith("RAY_JOB_ID=")]


def _read(pid: int, name: str) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text()
    return ""
