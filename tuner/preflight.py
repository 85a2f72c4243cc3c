"""What can be known to go wrong before Ray starts: resources that this machine lacks, data that cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from search_spaces.schema import Resources
from trainables import data_files
from tuner.errors import UserError

_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def num_local_gpus() -> int:
    """Return how many NVIDIA GPUs this machine shows, without loading CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = len(list(_NVIDIA_GPUS.iterdir())) if _NVIDIA_GPUS.is_dir() else 0
    if visible is None:
        return present
    return min(present, len([device for device in visible.split(",") if device.strip() not in ("", "-1")]))


def num_local_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_resources(resources: Resources) -> None:
    """Refuse a run that this machine can never start; a cluster is asked when it is reached.

    Raises:
        UserError: more is asked for than there is, with both numbers.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    there = {"cpu": num_local_cpus(), "gpu": num_local_gpus()}
    for name, wanted in (("cpu", resources.cpu), ("gpu", resources.gpu)):
        if wanted > there[name]:
            raise UserError(
                f"resources.{name}: a run asks for {wanted:g}, this machine has {there[name]}; lower it in the space, "
                "or set RAY_ADDRESS to a cluster that has more"
            )


def ensure_data(name: str, folder: Path | None, console: Console) -> Path | None:
    """Fetch and verify a dataset, with a progress bar; return the folder of its files, None if it has none.

    Raises:
        DataError: it cannot be had; the message says how to place it by hand.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{name} data", total=None)

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        return data_files.ensure(name, folder, on_progress=show)
