"""A cluster of several Ray nodes on this machine, each a raylet of its own, and who works on them."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION

_NODE = {"object_store_memory": 100 * 1024**2}


class Raylets:
    """Nodes that come and go."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def address(self) -> str:
        """What RAY_ADDRESS is to be."""
        return str(self._cluster.address)

    def add(self, num_cpus: int, num_gpus: int = 0) -> object:
        """Start another node, and return it once it belongs to the cluster; GPUs are those that Ray is told of."""
        return self._cluster.add_node(num_cpus=num_cpus, num_gpus=num_gpus, **_NODE)

    def drain(self, node: object) -> None:
        """Announce that a node is taken away in a minute, as a cloud does with a spot instance."""
        gcs, reason = GcsClient(address=self.address), DRAIN_NODE_REASON_PREEMPTION
        deadline_ms = int(1000 * (time.time() + 60))
        assert gcs.drain_node(node.node_id, reason, "spot", deadline_ms)[0]  # type: ignore[attr-defined]

    def end(self, node: object, number: signal.Signals) -> None:
        """End a node: SIGKILL as a crash does, which the head finds out after a while, SIGTERM as a cloud does."""
        os.kill(_raylet(node), number)
        self._cluster.remove_node(node, allow_graceful=False)

    def workers(self) -> Counter[str]:
        """Return how many workers train runs right now, by the job of their driver."""
        pids = [pid for node in self._cluster.list_all_nodes() for pid in _children(_raylet(node))]
        return Counter(job for pid in pids if "ResourceTrainable" in _read(pid, "cmdline") for job in _jobs(pid))


@contextmanager
def raylets(num_cpus: int) -> Iterator[Raylets]:
    """Start a head; it ends with all its nodes."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": num_cpus, "include_dashboard": False, **_NODE})
    try:
        yield Raylets(cluster)
    finally:
        cluster.shutdown()


def _raylet(node: object) -> int:
    pid: int = node.all_processes["raylet"][0].process.pid  # type: ignore[attr-defined]
    return pid


def _children(pid: int) -> list[int]:
    return [int(child) for child in _read(pid, f"task/{pid}/children").split()]


def _jobs(pid: int) -> list[str]:
    return [line.partition("=")[2] for line in _read(pid, "environ").split("\0") if line.startswith("RAY_JOB_ID=")]


def _read(pid: int, name: str) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text()
    return ""
