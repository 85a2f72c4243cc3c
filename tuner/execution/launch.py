"""Starting a driver: what can be refused is refused first; then it runs right here, or detached from the terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from search_spaces import library
from search_spaces.configurations import parse_space
from search_spaces.schema import Space
from tuner.errors import UserError
from tuner.execution import preflight
from tuner.sweep.folder import SweepFolder, check_available, names

LOG = "driver.log"
_started: list[subprocess.Popen[bytes]] = []  # a driver outlives this process; until then it is no zombie


def new_sweep(
    space: str | Path | Mapping[str, Any],
    home: Path,
    console: Console,
    *,
    name: str | None = None,
    trials: int | None = None,
    data: Path | None = None,
    warm_start: Sequence[str] = (),
    study_storage: str | None = None,
    max_concurrent: int | None = None,
) -> SweepFolder:
    """Return a new sweep that is ready to be driven; its folder appears once nothing is left to refuse.

    Args:
        space: a packaged space's name, a file, or the content of one.
        home: the folder of all sweeps.
        console: shows how fetching the dataset goes.
        name: of the sweep; by default the space's, with a number if that is taken.
        trials: instead of the space's number, at least 1.
        data: folder of the dataset's files; by default they are fetched.
        warm_start: names of earlier sweeps, whose trials the search begins with.
        study_storage: URL of the database that holds the study; by default a file in the sweep's folder does.
        max_concurrent: how many runs may be at work at once, at least 1; by default its share of the cluster.

    Raises:
        SpaceError: the space has mistakes.
        UserError: the name is taken or not allowed, the home or the database cannot be written, this machine lacks a
            resource, or no earlier trial fits.
        DataError: the dataset cannot be had.
    """
    text, source = _text_of(space)
    parsed = parse_space(text, source)
    if trials is not None and trials < 1:
        raise UserError(f"trials must be at least 1, got {trials}")
    _check_max_concurrent(max_concurrent)
    preflight.check_resources(parsed.resources)
    name = name or _free_name(parsed.name, home)
    check_available(name, home, study_storage)
    if study_storage is not None:
        from tuner.storage import postgres as database

        database.check(study_storage)
    earlier = _earlier(parsed, warm_start, home, console) if warm_start else []
    preflight.ensure_data(parsed.dataset.name, data, console)
    return SweepFolder.create(
        name,
        text,
        source,
        home=home,
        num_trials=trials,
        data=data,
        warm_start=earlier,
        study_storage=study_storage,
        max_concurrent=max_concurrent,
    )


def ready_again(
    sweep: SweepFolder, console: Console, *, trials: int | None = None, max_concurrent: int | None = None
) -> SweepFolder:
    """Return a sweep that is ready to be driven on, perhaps extended to more trials, or to other runs at once.

    Raises:
        UserError: it has more trials already, a driver is at work on it, or this machine lacks a resource.
        DataError: the dataset cannot be had.
    """
    if trials is not None and trials < sweep.num_trials:
        raise UserError(f"--trials must not be below the sweep's {sweep.num_trials}, got {trials}")
    _check_max_concurrent(max_concurrent)
    with sweep.lock():
        sweep = sweep.extended(trials, max_concurrent)
    preflight.check_resources(sweep.space.resources)
    preflight.ensure_data(sweep.space.dataset.name, Path(sweep.data) if sweep.data else None, console)
    return sweep


def detach(sweep: SweepFolder) -> int:
    """Start a driver that outlives this process and its terminal, and return its pid; it writes to ``driver.log``.

    Raises:
        UserError: it ended before it took over the sweep; the message holds what it wrote.
    """
    log = sweep.folder / LOG
    with log.open("ab") as file:
        begin = file.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner", "resume", sweep.name, "--home", sweep.store.url or str(sweep.store.root)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.append(process)
    while not sweep.is_running():
        if process.poll() is not None and process.returncode != 0:
            raise UserError(f"the driver of {sweep.name!r} ended at once: {log.read_bytes()[begin:].decode().strip()}")
        if process.poll() == 0:  # there was nothing left to do
            break
        time.sleep(0.1)
    return process.pid


def _check_max_concurrent(num: int | None) -> None:
    if num is not None and num < 1:
        raise UserError(
            f"max_concurrent must be at least 1, got {num}: leave it out for the sweep's share of a cluster"
        )


def _text_of(space: str | Path | Mapping[str, Any]) -> tuple[str, str]:
    if isinstance(space, Path):
        return library.text_of(str(space.absolute()))
    if isinstance(space, str):
        return library.text_of(space)
    try:
        return json.dumps(space, indent=2, ensure_ascii=False) + "\n", "space"  # JSON is YAML
    except TypeError as error:
        raise UserError(f"a space must be made of mappings, lists, text and numbers alone: {error}") from error


def _earlier(space: Space, sweeps: Sequence[str], home: Path, console: Console) -> list[dict[str, Any]]:
    """Return what earlier sweeps' trials tell of a space, and print what was left out."""
    from tuner.search.warm_start import gather

    observations, left_out = gather(space, [SweepFolder.open(name, home=home) for name in sweeps])
    console.print(f"Warm start: {len(observations)} earlier trials fit this space", highlight=False)
    for words in left_out:
        console.print(f"  {words}", soft_wrap=True, highlight=False)
    return observations


def _free_name(base: str, where: Path) -> str:
    taken = set(names(where))
    candidates = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)
