"""Images per second of each recipe's update on one core, beside the loops that users write with a DataLoader.

One reads images as torchvision's MNIST does, by way of PIL; the other spares itself that and reads a tensor.

Each side has a process of its own; they take turns, a few dozen minibatches each, so that whatever else the machine
does meets both.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch
from rich.table import Table

from tests.benchmarks import plain
from trainables.config import parse
from trainables.data.tensors import Dataset, load
from trainables.training import registry

AIM = 1.5
BATCH_SIZE = 128
ROUNDS = 15
MINIBATCHES = 40
"""Of one side in one round; an even number, so that generator and classifier get the same share."""

RECIPES: dict[str, dict[str, Any]] = {
    "standard": {},
    "fgsm_retraining": {},
    "gan": {"pretrain": 0.0, "ratio": {"kind": "constant", "generator_turns": 1, "turn_batches": 1}},
}


def measure() -> Table:
    """Return the speed of every recipe."""
    table = Table(title="updates: images per second on one core")
    for name in ("recipe", "ours", "DataLoader, PIL", "ratio", "DataLoader, tensors", "ratio", "aim"):
        table.add_column(name, justify="left" if name == "recipe" else "right")
    for recipe in RECIPES:
        ours, *others = _compare(recipe)
        cells = [cell for theirs in others for cell in (f"{theirs:,.0f}", f"{ours / theirs:.2f}")]
        table.add_row(recipe, f"{ours:,.0f}", *cells, f">= {AIM}")
    return table


def _compare(recipe: str) -> list[float]:
    """Return the images per second of each side: the median round."""
    context = multiprocessing.get_context("spawn")
    sides, processes = [], []
    for prepare in (_ours, _plain_through_pil, _plain_tensors):
        here, there = context.Pipe()
        sides.append(here)
        processes.append(context.Process(target=_serve, args=(there, prepare, recipe), daemon=True))
        processes[-1].start()
    rounds = [[_ask(side) for side in sides] for _ in range(1 + ROUNDS)][1:]  # the first warms up
    for process in processes:
        process.terminate()
        process.join()
    return [BATCH_SIZE * MINIBATCHES / statistics.median(seconds) for seconds in zip(*rounds, strict=True)]


def _ask(side: Connection) -> float:
    side.send(None)
    seconds: float = side.recv()
    return seconds


def _serve(asked: Connection, prepare: Callable[[str, Dataset], Callable[[], object]], recipe: str) -> None:
    """Do one round whenever asked, and answer with its seconds."""
    torch.set_num_threads(1)
    advance = prepare(recipe, load("mnist", validation=5000))
    while True:
        asked.recv()
        started = time.perf_counter()
        for _ in range(MINIBATCHES):
            advance()
        asked.send(time.perf_counter() - started)


def _ours(recipe: str, dataset: Dataset) -> Callable[[], object]:
    settings = {"trainable": recipe, "compute": 1e5, "batch_size": BATCH_SIZE, **RECIPES[recipe]}
    return registry.build(parse(settings), dataset).train_minibatch


def _plain_through_pil(recipe: str, dataset: Dataset) -> Callable[[], object]:
    return _plain(recipe, dataset, through_pil=True)


def _plain_tensors(recipe: str, dataset: Dataset) -> Callable[[], object]:
    return _plain(recipe, dataset, through_pil=False)


def _plain(recipe: str, dataset: Dataset, through_pil: bool) -> Callable[[], object]:
    images = plain.Images(dataset.train.images, dataset.train.labels, through_pil)
    steps: Iterator[None] = plain.LOOPS[recipe](images, BATCH_SIZE)
    return lambda: next(steps)
