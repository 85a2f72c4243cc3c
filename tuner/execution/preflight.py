"""What can be known to go wrong before Ray starts: too few resources, no data, a disk that is full or not writable."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from rich.console import Console

from search_spaces.errors import shown
from search_spaces.limits import DEVICE_PATTERN
from search_spaces.schema import MAX_TRIALS, Dataset, Resources, Space
from trainables.common.process_state import num_local_cpus
from trainables.common.redaction import redact
from trainables.data import files as data_files
from trainables.storage.atomic import reason_of, write_whole
from tuner.cluster import local_ray
from tuner.errors import UserError
from tuner.results.terminal.waiting import downloading
from tuner.sweep.folder import SweepFolder
from tuner.sweep.identity import GpuUse

_PROBE_BYTES = 64 * 1024
_RUNS_OF_AN_OPEN_END = 100  # where the number of trials is no limit
_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def check_count(name: str, number: int | None, most: int, least: int = 1) -> None:
    """Refuse a number that an option cannot have.

    Args:
        name: of the option.
        number: its value; None, if it was not given, is fine.
        most: the upper bound.
        least: the lower bound.

    Raises:
        UserError: it is no whole number or out of bounds.
    """
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int):
        raise UserError(f"{name} must be a whole number, not {shown(number)}")
    if number < least:
        raise UserError(f"{name} must be at least {least}, got {number}")
    if number > most:
        raise UserError(f"{name} must be at most {most:,}, got {number}")


def num_local_gpus() -> int:
    """Return how many NVIDIA GPUs this machine shows, without loading CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = len(list(_NVIDIA_GPUS.iterdir())) if _NVIDIA_GPUS.is_dir() else 0
    if visible is None:
        return present
    return min(present, len([device for device in visible.split(",") if device.strip() not in ("", "-1")]))


def choose_device(asked: str | None, *, by_default: str | None = None) -> str:
    """Return the device on which this process is to compute, as torch names it.

    Args:
        asked: ``cpu``, ``cuda`` or one like ``cuda:1``; ``auto`` and None take a GPU if torch has one.
        by_default: instead of that, if nothing was asked for.

    Raises:
        UserError: it is no device, or not there; the message says what is.
    """
    check_device(asked)
    if asked is None and by_default is not None:
        return by_default
    if asked == "cpu":
        return asked
    from trainables.training.machine.runtime import num_gpus

    num = num_gpus()
    if asked in (None, "auto"):
        return "cuda" if num else "cpu"
    if int(asked.partition(":")[2] or 0) >= num:
        is_there = describe_gpus(num)
        if not num and (unseen := num_local_gpus()):
            is_there = f"torch sees none of the {unseen} GPUs here, because it has no CUDA or the driver is too old"
        raise UserError(f"--device {asked} is not there: {is_there}; --device auto takes what is there")
    return asked


def check_device(asked: str | None) -> None:
    """Refuse the name of a device that can be none.

    Raises:
        UserError: it is none.
    """
    if asked is not None and asked not in ("auto", "cpu") and not re.fullmatch(DEVICE_PATTERN, asked):
        raise UserError(f"--device is auto, cpu, cuda or one like cuda:1, not {shown(asked)}")


def describe_gpus(num: int) -> str:
    """Return which devices a machine has, in words."""
    if not num:
        return "this machine has no GPU, only its processors (cpu)"
    return f"this machine has {', '.join(f'cuda:{number}' for number in range(num))} and its processors (cpu)"


def check_resources(resources: Resources, gpus: GpuUse | None = None) -> None:
    """Refuse a run that this machine can never start; a cluster is asked when it is reached.

    Args:
        resources: of one run.
        gpus: how runs are to use GPUs, if that differs from the space.

    Raises:
        UserError: more is asked for than there is, with both numbers.
    """
    gpus = gpus or GpuUse()
    number = (gpus.device or "").partition(":")[2]
    if not local_ray.is_wanted():
        if number:
            raise UserError(
                f"--device {gpus.device} is a GPU of this machine, and RAY_ADDRESS names a cluster: --device cuda "
                "takes any GPU there, --gpus N at most so many"
            )
        return
    there = {"cpu": num_local_cpus(), "gpu": num_local_gpus()}
    if gpus.device and there["gpu"] <= int(number or 0):
        raise UserError(
            f"--device {gpus.device} is not there: {describe_gpus(there['gpu'])}; --device auto takes what is"
        )
    for name, wanted in (("cpu", resources.cpu), ("gpu", 0 if gpus.most == 0 else resources.gpu or 0)):
        if wanted > there[name]:
            raise UserError(
                f"resources.{name}: a run asks for {wanted:g}, this machine has {there[name]}; lower it in the space, "
                "or set RAY_ADDRESS to a cluster that has more"
            )


def check_storage(sweep: SweepFolder, num_left: int) -> None:
    """Refuse a sweep whose folder cannot be written, or has no room for the checkpoints of the runs that are left.

    Args:
        sweep: whose lock the caller holds.
        num_left: runs that have not ended.

    Raises:
        UserError: with what is there and what is needed.
    """
    probe = sweep.folder / ".probe"
    try:
        write_whole(probe, b"\0" * _PROBE_BYTES)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write into {sweep.folder}: {reason_of(error)}; make room, or mend its permissions"
        ) from error
    if sweep.store.url is not None:  # the checkpoints are kept in the object store
        return
    needed = (num_left if num_left < MAX_TRIALS else _RUNS_OF_AN_OPEN_END) * _bytes_per_run(sweep.space)
    free = shutil.disk_usage(sweep.folder).free
    if free < needed:
        raise UserError(
            f"{sweep.folder} has {free / 1e6:.1f} MB of free disk, the checkpoints of the runs that are left need "
            f"about {needed / 1e6:.1f} MB: make room, or choose another --home"
        )


def _bytes_per_run(space: Space) -> int:
    """Return about how much disk a run takes: two checkpoints, each of weights with two moments in 4 bytes."""
    from trainables.config import parse
    from trainables.training.registry import num_parameters
    from tuner.search.distributions import drawn_configurations  # loads Optuna, which `tuner verify BUNDLE` needs not

    return 2 * 3 * 4 * num_parameters(parse(drawn_configurations(space)[0]))


def check_data_folder(folder: Path | None) -> None:
    """Check that a folder of a dataset's files that a person has named is one; each file in it is checked later.

    Args:
        folder: None if the files are to be fetched.

    Raises:
        UserError: it is a URL, or no folder of this machine.
    """
    if folder is None or folder.is_dir():
        return
    if url := re.fullmatch(r"([A-Za-z][\w+.-]+):/+(.*)", str(folder)):
        raise UserError(
            f"--data {redact(f'{url[1]}://{url[2]}')} is a URL, and the files of a dataset are taken from a folder: "
            "fetch them from there yourself and name the folder, or leave --data out and they are fetched"
        )
    raise UserError(f"--data {folder} is no folder on this machine: leave it out, and the files are fetched")


def ensure_data(dataset: Dataset, folder: Path | None, console: Console) -> Path | None:
    """Fetch and verify a dataset, with a progress bar; return the folder of its files, None if it has none.

    Raises:
        DataError: it cannot be had; the message says how to place it by hand.
    """
    with downloading(console) as show:
        return data_files.ensure(dataset.name, folder, on_progress=show, own=dataset)
