"""One side of `tests.benchmarks.commits`: ``python -P commit_side.py WEIGHTS`` with the tree of a commit on the path.

It reads names from its input, does each once and answers with the processor seconds. It runs with the modules of either
commit, which are named alike.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file

BATCH_SIZE, NUM_IMAGES = 128, 100
EPSILON, STEPS = 0.3, 40
GENERATOR = {  # gan's first configuration
    "width": 16,
    "random_start": True,
    "see_label": True,
    "see_perturbation": True,
    "recursions": 2,
    "recursion_step": 0.6,
    "image_gradient": "sign",
    "perturbation_bound": 0.35,
    "loss": "cross_entropy",
}
RECIPES: dict[str, tuple[int, dict[str, Any]]] = {
    "standard": (24, {"trainable": "standard"}),
    "FGSM retraining": (12, {"trainable": "fgsm_retraining"}),
    "PGD update": (4, {"trainable": "pgd"}),
    "generator loop": (10, {"trainable": "gan", "pretrain": 0.0, "clean_weight": 0.1, "generator": GENERATOR}),
}
"""How many minibatches are one round, and the settings."""


def find(*names: str) -> ModuleType:
    """Return the first module that there is."""
    for name in names[:-1]:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    return importlib.import_module(names[-1])


def rounds(weights: str) -> dict[str, Callable[[], object]]:
    """Return what is measured, by its name."""
    registry = find("trainables.training.registry", "trainables.registry")
    attacks = find("trainables.attacks.gradient", "trainables.attacks")
    parse = importlib.import_module("trainables.config").parse
    dataset = find("trainables.data.tensors", "trainables.data").load("mnist", validation=5000)

    def build(settings: dict[str, Any]) -> Any:
        return registry.build(parse({"compute": 1e6, "report_every": 1e3, **settings}), dataset)

    def train(loop: Any, num_minibatches: int) -> Callable[[], object]:
        return lambda: [loop.train_minibatch() for _ in range(num_minibatches)]

    measured = {name: train(build(settings), number) for name, (number, settings) in RECIPES.items()}
    net = build({"trainable": "standard"}).classifier.eval()
    net.load_state_dict(load_file(weights))
    images, labels = dataset.test.batch(torch.arange(NUM_IMAGES))

    def evaluate() -> object:
        rng = torch.Generator().manual_seed(0)
        return attacks.pgd_survivors(net, images, labels, EPSILON, steps=STEPS, rng=rng)

    return {**measured, "PGD-40 of the evaluator": evaluate}


def main() -> None:
    """Do one round for every line of the input."""
    torch.set_num_threads(1)
    measured = rounds(sys.argv[1])
    print("\t".join(measured), flush=True)
    for line in sys.stdin:
        started = time.thread_time()
        measured[line.rstrip("\n")]()
        print(time.thread_time() - started, flush=True)


if __name__ == "__main__":
    main()
