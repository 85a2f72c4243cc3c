"""Seconds of adversarial training beside adversarial-robustness-toolbox: same net, batch size, optimiser and steps.

The sides take turns, a few minibatches each, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.table import Table
from torch import nn

from trainables.config import parse
from trainables.data.tensors import Dataset, load
from trainables.networks.classifiers import small_cnn
from trainables.training import registry

AIM = 2.0
EPSILON = 0.3
BATCH_SIZE = 128
MINIBATCHES = 16
"""Of one side in one round."""
ROUNDS = 5
EPOCH = 60_000 / (BATCH_SIZE * MINIBATCHES)
STEPS, REACH = 7, 2.5

RECIPES: dict[str, dict[str, Any]] = {
    "FGSM, half clean": {"trainable": "fgsm_retraining"},
    "FGSM alone": {"trainable": "fgsm_retraining", "clean_weight": 0.0},
    f"PGD-{STEPS}": {"trainable": "pgd", "attack": {"steps": STEPS, "reach": REACH, "warmup": 0.0}},
}


def measure() -> Table:
    """Return the seconds of an epoch of 60,000 images of every recipe; theirs only if they are installed."""
    table = Table(title="trainers: seconds of an epoch of 60,000 images on one core")
    for name in ("recipe", "ours", "adversarial-robustness-toolbox", "ratio", "aim"):
        table.add_column(name, justify="left" if name == "recipe" else "right")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dataset = load("mnist", validation=5000)
    is_installed = importlib.util.find_spec("art") is not None
    for recipe in RECIPES:
        sides = [_ours(recipe, dataset), *([_theirs(recipe, dataset)] if is_installed else [])]
        with contextlib.redirect_stderr(io.StringIO()):  # their progress bars
            rounds = [[_seconds(side) for side in sides] for _ in range(1 + ROUNDS)][1:]  # the first warms up
        ours, *theirs = (EPOCH * statistics.median(seconds) for seconds in zip(*rounds, strict=True))
        cells = [f"{theirs[0]:.1f}", f"{theirs[0] / ours:.2f}"] if theirs else ["not installed", ""]
        table.add_row(recipe, f"{ours:.1f}", *cells, f">= {AIM:g}")
    torch.set_num_threads(num_threads)
    table.caption = "half clean: ours learns from 128 clean and 128 attacked images an update, theirs from 64 and 64"
    return table


def _seconds(advance: Callable[[], object]) -> float:
    started = time.perf_counter()
    advance()
    return time.perf_counter() - started


def _ours(recipe: str, dataset: Dataset) -> Callable[[], object]:
    settings = {"compute": 1e5, "batch_size": BATCH_SIZE, "evaluation": {"epsilon": EPSILON}, **RECIPES[recipe]}
    settings["classifier"] = {"learning_rate": 1e-3, "schedule": "constant"}
    loop = registry.build(parse(settings), dataset)
    return lambda: [loop.train_minibatch() for _ in range(MINIBATCHES)]


def _theirs(recipe: str, dataset: Dataset) -> Callable[[], object]:
    from art.attacks.evasion import FastGradientMethod
    from art.defences.trainer import AdversarialTrainer, AdversarialTrainerMadryPGD
    from art.estimators.classification import PyTorchClassifier

    logging.getLogger("art").setLevel(logging.ERROR)
    net = small_cnn((1, 28, 28), 10)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    estimator = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), (1, 28, 28), 10, optimizer, clip_values=(0, 1), device_type="cpu"
    )
    images, labels = (some.numpy() for some in dataset.train.batch(torch.arange(BATCH_SIZE * MINIBATCHES)))
    if recipe.startswith("PGD"):
        sizes = {"eps": EPSILON, "eps_step": REACH * EPSILON / STEPS, "max_iter": STEPS}
        madry = AdversarialTrainerMadryPGD(estimator, nb_epochs=1, batch_size=BATCH_SIZE, **sizes)
        return lambda: madry.fit(images, labels)
    attack = FastGradientMethod(estimator, eps=EPSILON, batch_size=BATCH_SIZE)
    trainer = AdversarialTrainer(estimator, attack, ratio=1.0 if recipe == "FGSM alone" else 0.5)
    return lambda: trainer.fit(images, labels, batch_size=BATCH_SIZE, nb_epochs=1)
