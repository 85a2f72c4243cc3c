"""What a generator's body costs: one forward and backward pass per image, in standard updates of a classifier."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from rich.table import Table

from trainables.attacks.losses import cross_entropy
from trainables.common.tasks import MNIST
from trainables.config import ClassifierConfig, GeneratorConfig
from trainables.config.plugins.registries import GENERATORS
from trainables.networks.classifiers import build_classifier
from trainables.training.compute import ComputeMeter, standard_flops_per_image
from trainables.training.machine.runtime import keep_freed_memory

NUM_IMAGES = 128
CHANNELS = 2  # the image and the gradient
ROUNDS = 15
PASSES = 4
"""Of one side in one round."""


def measure() -> Table:
    """Return the cost of every body at its default width, counted and timed."""
    width = GeneratorConfig().width
    classifier = build_classifier(ClassifierConfig(), MNIST)
    images, labels = torch.rand(NUM_IMAGES, *MNIST.image_shape), torch.arange(NUM_IMAGES) % 10
    seen = torch.rand(NUM_IMAGES, CHANNELS, *MNIST.image_shape[1:])
    bodies = {name: build(CHANNELS, width, 1) for name, build in GENERATORS.items()}
    passes: dict[str, Callable[[], object]] = {
        name: lambda body=body: body(seen).square().mean().backward()  # type: ignore[misc]
        for name, body in bodies.items()
    }
    flops = standard_flops_per_image(classifier, MNIST.image_shape)
    seconds = _seconds({"": lambda: cross_entropy(classifier(images), labels).mean().backward(), **passes})
    table = Table(title=f"bodies: cost of a pass at width {width}, in epochs of standard training of a small_cnn")
    for column in ("body", "operations", "seconds"):
        table.add_column(column, justify="left" if column == "body" else "right")
    for name, run in passes.items():
        meter = ComputeMeter(flops)
        meter.run(name, NUM_IMAGES, run)
        table.add_row(name, f"{meter.compute / NUM_IMAGES:.2f}", f"{seconds[name] / seconds['']:.2f}")
    return table


def _seconds(passes: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median round of each side on one core; they take turns."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    rounds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(1 + ROUNDS):
        for name, run in passes.items():
            started = time.perf_counter()
            for _ in range(PASSES):
                run()
            rounds[name].append(time.perf_counter() - started)
    torch.set_num_threads(num_threads)
    return {name: statistics.median(some[1:]) for name, some in rounds.items()}
