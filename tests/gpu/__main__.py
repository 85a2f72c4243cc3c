"""Measure what needs a GPU: ``python -m tests.gpu [--data FOLDER] [--out FILE] [SECTION ...]``.

Each section has a process of its own and a time limit; what it has measured by then is kept, so that none loses what
the others found. Without a GPU, packs are compared with solo runs on the processor, and the rest is skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from tests.gpu import cifar, judging, pack_trials, packs, placement, solo, trials
from tests.gpu.measuring import Rows
from tests.gpu.recipes import load_images
from trainables.data.tensors import Dataset

SECTIONS: dict[str, tuple[Callable[[Rows, Dataset], None], float]] = {
    "equality": (packs.measure_equality, 25),
    "eager": (solo.measure_eager, 35),
    "graphs": (solo.measure_graphs, 35),
    "stacked": (packs.measure_stacked, 80),
    "streams": (packs.measure_streams, 25),
    "packs": (pack_trials.measure, 125),
    "processes": (pack_trials.measure_processes, 55),
    "trials": (trials.measure, 90),
    "reports": (solo.measure_reports, 25),
    "placement": (placement.measure, 60),
    "judging": (judging.measure, 90),
    "cifar": (cifar.measure, 25),
}
"""What each section measures, and its seconds at most."""
WITHOUT_A_GPU = {"equality"}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"any of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--data", type=Path, default=os.environ.get("TUNER_DATA"), help="folder with MNIST's files")
    parser.add_argument("--out", type=Path, help="file for the table as JSON")
    parser.add_argument("--seconds", type=float, default=460, help="after which nothing more is begun")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}: choose from {', '.join(SECTIONS)}")
    torch.set_num_threads(1)  # more would not survive the forks below
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.touch()
        measure(options.sections or list(SECTIONS), options.data, rows, started + options.seconds)
        found = [json.loads(line) for line in rows.read_text().splitlines()]
    print(table(found))
    if options.out:
        machine = {"python": platform.python_version(), "torch": torch.__version__, "processors": os.cpu_count()}
        about = {"machine": machine, "seconds": round(time.monotonic() - started, 1)}
        options.out.write_text(json.dumps({**about, "rows": found}, indent=1) + "\n")
    return 0


def measure(sections: list[str], data: Path | None, path: Path, end: float) -> None:
    """Run sections one after the other, each in a process that is killed at its limit."""
    context = multiprocessing.get_context("fork")
    has_gpu = context.Value("b", False)
    _run(context, _look_for_gpu, (has_gpu,), 60)  # not here: CUDA cannot be used on both sides of a fork
    dataset = load_images(data)
    for name in sections:
        function, limit_s = SECTIONS[name]
        limit_s = min(limit_s, end - time.monotonic())
        rows = Rows(path, name, limit_s)
        if not has_gpu.value and name not in WITHOUT_A_GPU:
            rows.add("skipped", why="this machine has no GPU that torch can use")
        elif limit_s < 2:
            rows.add("skipped", why="no time was left")
        elif (ended := _run(context, function, (rows, dataset), limit_s)) is not None:
            rows.add("ended early", why=ended)


def _look_for_gpu(found: Any) -> None:
    found.value = torch.cuda.is_available()


def _run(context: Any, function: Callable[..., None], arguments: tuple[Any, ...], limit_s: float) -> str | None:
    """Call a function in a process of its own; return why it was not the function that ended it."""
    process = context.Process(target=function, args=arguments)
    started = time.monotonic()
    process.start()
    process.join(limit_s)
    if process.is_alive():
        process.kill()
        process.join()
        return f"after {time.monotonic() - started:.0f} s"
    return None if process.exitcode == 0 else f"with exit code {process.exitcode}"


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as text: a line for each, with the section before its first."""
    lines, section = [], None
    for row in rows:
        cells = ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("section", "what"))
        if row["section"] != section:
            section = row["section"]
            lines.append(f"\n{section}")
        lines.append(f"  {row['what']}: {cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
