"""How things are measured: rows that survive a crash, number formats, and times of the device."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

FORMATS = ("fp32", "tf32", "bf16")


class Rows:
    """Rows of results, each of which is on disk as soon as it is measured."""

    def __init__(self, path: Path, section: str, limit_s: float) -> None:
        self._path, self._section = path, section
        self._end = time.monotonic() + limit_s

    def add(self, what: str, **values: Any) -> None:
        """Add a row; numbers are rounded to four digits."""
        cells = {name: float(f"{cell:.4g}") if isinstance(cell, float) else cell for name, cell in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"section": self._section, "what": what, **cells}) + "\n")
        print(f"{self._section}: {what}: " + ", ".join(f"{name} {cell}" for name, cell in cells.items()), flush=True)

    @property
    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    def attempt(self, what: str, measure: Callable[[], dict[str, Any]], needs_s: float = 1.0) -> dict[str, Any]:
        """Add what `measure` returns as a row; an error and a lack of time are rows, too, and return nothing."""
        if self.seconds_left < needs_s:
            self.add(what, skipped=f"{max(self.seconds_left, 0):.0f} s were left")
            return {}
        try:
            values = measure()
        except Exception as error:
            self.add(what, error=f"{type(error).__name__}: {error}"[:400])
            return {}
        self.add(what, **values)
        return values


@contextmanager
def numbers(fmt: str) -> Iterator[None]:
    """Compute in fp32, in tf32 (the matrix units' float32), or in bf16 by autocast, as the product does."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = fmt == "tf32"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        with torch.autocast(device, torch.bfloat16, enabled=fmt == "bf16", cache_enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@contextmanager
def deterministic() -> Iterator[None]:
    """Let cuDNN choose only algorithms that give the same bits every time."""
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = False


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def time_ms(function: Callable[[], object], seconds: float = 0.4, warm_up: int = 3) -> float:
    """Return the milliseconds of one call, host or device, whichever takes longer: the median of five parts."""
    for _ in range(warm_up):
        function()
    synchronize()
    started = time.perf_counter()
    function()
    synchronize()
    count = max(int(seconds / 5 / max(time.perf_counter() - started, 1e-6)), 1)
    parts = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(count):
            function()
        synchronize()
        parts.append((time.perf_counter() - started) / count)
    return 1e3 * statistics.median(parts)


def host_ms(function: Callable[[], object], count: int = 30) -> float:
    """Return the milliseconds that the host needs to submit one call, with an empty queue at the start."""
    function()
    synchronize()
    started = time.perf_counter()
    for _ in range(count):
        function()
    seconds = time.perf_counter() - started
    synchronize()
    return 1e3 * seconds / count
