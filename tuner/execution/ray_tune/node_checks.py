"""What every node of a cluster needs before it trains: the sweep's storage, verified, and the dataset within reach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.data import files as data_files
from trainables.errors import StorageError
from trainables.storage.folder_guard import FolderGuard
from trainables.storage.object_store import store_at
from trainables.storage.shared import answer_probe, is_visible, write_probe
from trainables.worker.context import WorkerContext
from trainables.worker.packages import ensure_packages
from tuner.cluster import local_ray
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder

SHARED_DATA = ".data"  # beside the sweeps; no sweep's name begins with a dot
_ANSWER_S = 60.0


def verify_nodes(sweep: SweepFolder) -> WorkerContext:
    """Verify that every node of the cluster reaches the sweep's folder, and put the dataset where all of them find it.

    A node that joins later is verified before its first run. Where Ray runs on this machine alone, nothing is done.

    Args:
        sweep: the sweep; its lock is held by the caller, and Ray has been started.

    Returns:
        Where workers find the sweep's storage and data.

    Raises:
        UserError: a node does not reach the folder, or has other packages; the message names both.
        DataError: the dataset cannot be had.
        StorageError: the folder, or the one of all sweeps, cannot be written.
    """
    store = sweep.store
    FolderGuard(sweep.folder)
    code = {name: source.decode() for name, source in sweep.read_code().items()}
    context = WorkerContext(code=code, sweep_place=sweep.place)
    if store.url is None:
        context = replace(context, sweep_folder=str(sweep.folder), sweep_id=sweep.id)
    else:
        context = replace(context, store_url=store.location(store.root), store_root=str(store.root))
    if local_ray.is_wanted() and len(_nodes()) == 1:
        return replace(context, data=sweep.data)
    place, shared = sweep.place, store.location(store.root / SHARED_DATA)
    probe = write_probe(place)
    _verify_nodes(place, probe, dict(sweep.space.code))
    dataset = sweep.space.dataset
    data_files.share(dataset.name, shared, Path(sweep.data) if sweep.data else None, own=dataset)
    return replace(context, probe_place=place, probe=probe, shared_data=shared)


def _nodes() -> dict[str, str]:
    """Return the names of all nodes that are alive, by their ids."""
    return {
        node["NodeID"]: f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
        for node in ray.nodes()
        if node["Alive"]
    }


def _verify_nodes(place: str, probe: str, code: dict[str, str]) -> None:
    nodes = _nodes()
    answers = {node: _answer_on(node, place, probe, code) for node in nodes}
    ray.wait(list(answers.values()), num_returns=len(answers), timeout=_ANSWER_S)
    found = {node: _problems(pending, place) for node, pending in answers.items()}
    # A node that has left meanwhile is no problem: should it come back, it verifies the storage before its first run.
    left = [node for node in _nodes() if node in nodes]
    if lines := [f"  {nodes[node]}: {found[node][0]}" for node in left if found[node][0]]:
        raise UserError(
            "\n".join(
                [
                    f"every node of the cluster must write into {place} and read what others write there:",
                    *lines,
                    "let all of them reach the same storage there, or choose another --storage",
                ]
            )
        )
    if lines := [f"  {nodes[node]}: {found[node][1]}" for node in left if found[node][1]]:
        raise UserError("\n".join(["every node of the cluster needs the packages that the sweep names:", *lines]))


def _answer_on(node: str, place: str, probe: str, code: dict[str, str]) -> Any:
    """Begin to answer a probe on a node."""
    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(_answer).options(num_cpus=0, max_retries=0, scheduling_strategy=pinned).remote(place, probe, code)


def _answer(place: str, probe: str, code: dict[str, str]) -> tuple[str, str, str]:
    """Answer a probe; return the file that was written, what went wrong otherwise, and which package is missing."""
    packages = ""
    try:
        try:
            ensure_packages(code, place)
        except UserError as error:
            packages = str(error)
        return answer_probe(place, probe), "", packages
    except StorageError as error:
        return "", str(error), packages


def _problems(pending: Any, place: str) -> tuple[str, str]:
    """Return what is wrong with a node's storage, nothing if the driver can read its answer, and with its packages."""
    try:
        own, problem, packages = ray.get(pending, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"no answer within {_ANSWER_S:g} s", ""
    except ray.exceptions.RayError as error:
        return str(error).strip().splitlines()[0], ""
    if problem:
        return str(problem), ""
    if not is_visible(place, own):
        return f"what it writes into {place} is not seen from here", ""
    store_at(place).remove(own)
    return "", str(packages)
