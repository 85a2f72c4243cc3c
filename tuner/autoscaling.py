"""Whether an autoscaler starts machines for what no present machine of the cluster has room for."""

from __future__ import annotations

import json
import time

import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.experimental import internal_kv
from ray.util.placement_group import placement_group, remove_placement_group

from search_spaces.schema import Resources

# It looks every 5 s, and what it has found is there another look later.
_VERDICT_S = 15.0
_STATUS = "__autoscaling_status"


def starts_machines_for(resources: Resources) -> bool:
    """Ask the cluster for the resources of one run, and return whether machines come, or are about to.

    A head always has the process that would be the autoscaler; only what that does says whether it is one.
    """
    group = placement_group([{"CPU": resources.cpu, **({"GPU": resources.gpu} if resources.gpu else {})}])
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
    report = json.loads(internal_kv._internal_kv_get(_STATUS) or b"{}").get("autoscaler_report") or {}
    return bool(
        status.pending_launches or status.pending_nodes or report.get("pending_launches") or report.get("pending_nodes")
    )
