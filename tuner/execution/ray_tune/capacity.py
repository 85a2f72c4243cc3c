"""What a Ray cluster has right now, and this driver's share of it beside the other drivers that are at work there.

Every driver keeps a claim in the cluster's key-value store and renews it every few seconds. A claim that has not been
renewed for a while is a dead driver's, so nobody waits for what it had.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.util.placement_group import placement_group, remove_placement_group

from tuner.cluster import local_ray
from tuner.cluster.ray_internals import KeyValueStore, autoscaler_launches_nodes, draining_nodes
from tuner.errors import UserError
from tuner.execution.ray_tune.fair_share import Claim, fair_shares
from tuner.execution.ray_tune.gpu_plan import RunResources

_PREFIX = "claim:"
_CLAIMS = KeyValueStore("adversarial-tuner")
_LOOK_EVERY_S = 2.0
_CLAIM_LASTS_S = 15.0


def machines() -> list[dict[str, float]]:
    """Return what each machine of the cluster has, by resource; those that are being drained are as good as gone."""
    leaving = draining_nodes()
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]


def num_fitting(resources: RunResources, there: Iterable[Mapping[str, float]]) -> int:
    """Return how many runs fit machines at once, each on one of them."""
    return sum(
        # Tenths do not divide exactly: 0.3 / 0.1 is below 3.
        int(min(machine.get(name, 0.0) / amount + 1e-9 for name, amount in resources.amounts.items()))
        for machine in there
    )


def num_slots(resources: RunResources) -> int:
    """Return how many runs fit the cluster at once, each on one machine.

    Raises:
        UserError: not even one does.
    """
    there = machines()
    for name, amount in (("CPU", resources.cpu), ("GPU", resources.gpu)):
        most = max((machine.get(name, 0.0) for machine in there), default=0.0)
        if amount > most:
            raise UserError(
                f"a run asks for {amount:g} {name}, the cluster has at most {most:g} on one machine: lower `resources`"
            )
    slots = num_fitting(resources, there)
    if not slots:
        raise UserError(f"no machine of the cluster has both {resources.cpu:g} CPU and {resources.gpu:g} GPU")
    return slots


def await_machines(resources: RunResources, tell: Callable[[str], object]) -> None:
    """See that runs will fit the cluster: now, or once an autoscaler has started the machines that they need.

    Args:
        resources: of one run.
        tell: says to a person what is waited for.

    Raises:
        UserError: not even one run fits, and nobody starts machines.
    """
    try:
        num_slots(resources)
    except UserError as error:
        if local_ray.is_wanted() or not starts_machines_for(resources):
            raise
        tell(f"Waiting for machines that the cluster's autoscaler starts: {str(error).partition(':')[0]}")


class Capacity:
    """How many runs, or packs of runs, one driver may have at work, kept up to date by a thread; a context manager."""

    def __init__(
        self, name: str, resources: RunResources, max_concurrent: int | None, num_wanted: Callable[[], int]
    ) -> None:
        """Take what one driver needs.

        Args:
            name: that no other driver of the cluster has at the same time.
            resources: of one of its runs, or packs.
            max_concurrent: how many runs it may have at work; None for as many as fit.
            num_wanted: returns how many runs are left.
        """
        self._key = _PREFIX + name
        self._resources = resources
        self._max_concurrent = max_concurrent
        self._num_wanted = num_wanted
        self._others = _Claims(self._key)
        self._beat = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="capacity", daemon=True)
        self.limit = 1
        self.num_fitting = 1
        """How many fit the machines that the cluster has now, other drivers aside; at least 1."""
        self.leaving: frozenset[str] = frozenset()
        """Machines that are about to be taken away, see `tuner.cluster.ray_internals.draining_nodes`."""

    def __enter__(self) -> Capacity:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join(_LOOK_EVERY_S)  # a cluster that is gone answers late

    def _keep_looking(self) -> None:
        while not self._end.wait(_LOOK_EVERY_S):
            with contextlib.suppress(Exception):  # a head that is out of reach for a while: what was known holds
                self._look()
        with contextlib.suppress(Exception):
            _CLAIMS.delete(self._key)

    def _look(self) -> None:
        wanted = self._num_wanted()
        if self._max_concurrent is not None:
            wanted = min(wanted, self._max_concurrent)
        claim = Claim(math.ceil(wanted / self._resources.pack), self._resources.cpu, self._resources.gpu)
        self._beat += 1
        value = json.dumps({**asdict(claim), "beat": self._beat})
        _CLAIMS.write(self._key, value)
        self.leaving = draining_nodes()
        there = machines()
        self.num_fitting = max(num_fitting(self._resources, there), 1)
        self.limit = self._limit(claim, there, self._others.look())

    def _limit(self, own: Claim, there: list[dict[str, float]], others: dict[str, Claim]) -> int:
        """Return this driver's share, or alone on the cluster whatever it is allowed.

        What is allowed beyond what fits waits for machines, which tells an autoscaler of them. In company it would only
        take what another sweep gives back. Packs that are not full are spread over what fits.
        """
        if not others and self._max_concurrent is not None:
            return max(
                math.ceil(self._max_concurrent / self._resources.pack), min(self._max_concurrent, self.num_fitting)
            )
        if not others:
            return self.num_fitting
        total = {name: sum(machine.get(name, 0.0) for machine in there) for name in ("CPU", "GPU")}
        return max(min(fair_shares(total, {**others, self._key: own})[self._key], self.num_fitting), 1)


class _Claims:
    """The claims of other drivers, as far as they are still renewed; time is taken here, so no clocks are compared."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._seen: dict[str, tuple[bytes, float]] = {}

    def look(self) -> dict[str, Claim]:
        found: dict[str, Claim] = {}
        for key in _CLAIMS.keys(_PREFIX):
            value = _CLAIMS.read(key)
            if key == self._own or value is None:
                continue
            before, since = self._seen.get(key, (None, 0.0))
            if value != before:
                since = time.monotonic()
                self._seen[key] = value, since
            if time.monotonic() - since > _CLAIM_LASTS_S:
                _CLAIMS.delete(key)
            else:
                found[key] = _claim(value)
        return found


def _claim(value: bytes) -> Claim:
    what: dict[str, Any] = json.loads(value)
    return Claim(what["wanted"], what["cpu"], what["gpu"])


# It looks every 5 s, and what it has found is there another look later.
_VERDICT_S = 15.0


def starts_machines_for(resources: RunResources) -> bool:
    """Ask the cluster for the resources of one run, and return whether machines come, or are about to.

    A head always has the process that would be the autoscaler; only what that does says whether it is one.
    """
    group = placement_group([resources.amounts])
    try:
        deadline = time.monotonic() + _VERDICT_S
        while time.monotonic() < deadline:
            if group.wait(timeout_seconds=1) or _machines_come():
                return True
        return False
    finally:
        remove_placement_group(group)


def _machines_come() -> bool:
    """Look at what either generation of Ray's autoscaler reports."""
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return bool(status.pending_launches or status.pending_nodes) or autoscaler_launches_nodes()
