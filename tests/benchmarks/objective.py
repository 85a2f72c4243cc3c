"""How near the objective of a search is to the strongest attacks: both on trained nets of all recipes, same images.

Nets that are not in the folder `benchmarks/objective` of the cache are trained first (ten minutes on one core); other
weights of a `small_cnn` that lie there are measured, too. `final` takes a minute or two a net, so what it finds is kept
beside the weights. All seconds are processor time of one core.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from rich.table import Table
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from torch import nn

from tests.benchmarks.commit_side import GENERATOR
from trainables.attacks import losses
from trainables.attacks.apgd import apgd
from trainables.config import parse
from trainables.data.tensors import Dataset, Split, load
from trainables.evaluation.accuracy import evaluate, evaluating, run_attacks
from trainables.evaluation.attack_table import Attack, attacks_of
from trainables.evaluation.tiers import TIERS
from trainables.judging.final import evaluate_final
from trainables.storage.atomic import cache_folder
from trainables.training import registry
from trainables.training.machine.runtime import keep_freed_memory

EPSILON = 0.3
NUM_IMAGES = 200
RANKED = replace(TIERS["rank"][-1], options={**TIERS["rank"][-1].options, "nearest": 125 * NUM_IMAGES // 500})
"""Square on the share of these images on which it goes on in a run that is ranked by 500 or more."""

NUM_TRAINING = 10_000
"""From how many images the fresh generator of `final` learns here. It and transferred images, which are left out, take
most of the time of `final` on few images, and find what the other attacks do."""

FAR = 0.015
"""An objective that is further from `final` than this misleads."""

_GAN = {
    "trainable": "gan",
    "pretrain": 0.5,
    "clean_weight": 0.1,
    "classifier": {"learning_rate": 4e-3, "schedule": "cyclic"},
    "generator": {**GENERATOR, "warmup": 0.3},
}
NETS: dict[str, dict[str, Any]] = {
    "standard-3": {"trainable": "standard", "compute": 3.0},
    "fgsm-8": {"trainable": "fgsm_retraining", "compute": 8.0},
    "start-5": {"trainable": "fgsm_random_start", "compute": 5.0},
    "start-16": {"trainable": "fgsm_random_start", "compute": 16.0},
    "pgd-4": {"trainable": "pgd", "compute": 4.0},
    "pgd-8": {"trainable": "pgd", "compute": 8.0},
    "pgd-16": {"trainable": "pgd", "compute": 16.0, "seed": 1},
    "pgd-40": {"trainable": "pgd", "compute": 40.0},
    "trades-16": {"trainable": "trades", "compute": 16.0},
    "gan-6": {**_GAN, "compute": 6.0},
    "gan-16": {**_GAN, "compute": 16.0, "seed": 1},
    "gan-40": {**_GAN, "compute": 40.0},
    "threshold-3": {"trainable": "standard", "compute": 3.0},
}
"""The nets, by recipe and compute; those named after a threshold have one before them, and are trained behind it."""

_THRESHOLD = "threshold"
Result = TypeVar("Result")


class Thresholded(nn.Module):
    """A network that sees black and white only."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of the images' pixels above one half."""
        logits: torch.Tensor = self.network((images > 0.5).to(images.dtype))
        return logits


def measure() -> Table:
    """Return the accuracies of every net as a search sees them, and as the strongest attacks leave them."""
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = load("mnist", validation=5000)
    title = f"objective: robust accuracy, {NUM_IMAGES} MNIST validation images, epsilon {EPSILON}"
    table = Table(title=title, box=None)
    for name in ("net", "clean", "gradients", "s", "robust", "s", "final", "s", "robust - final", "masked"):
        table.add_column(name, justify="left" if name == "net" else "right", no_wrap=name != "robust - final")
    others = sorted({path.stem for path in _folder().glob("*.safetensors")} - set(NETS))
    rows = [_measure(name, dataset) for name in (*NETS, *others)]
    for row in rows:
        pairs = [(f"{100 * row[name]:.1f}", f"{row[f'{name}_s']:.1f}") for name in ("gradients", "robust", "final")]
        difference = f"{100 * (row['robust'] - row['final']):+.1f}"
        table.add_row(row["name"], f"{100 * row['clean']:.1f}", *chain(*pairs), difference, f"{row['failures']:.0f}")
    explained = "gradients: gradient attacks alone; s: seconds of one core; masked: checks that fail"
    table.caption = "\n".join(
        [explained, *(f"{name}: " + "; ".join(_summary(name, rows)) for name in ("gradients", "robust"))]
    )
    return table


def _summary(name: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what is to be said of a measure beside `final`, over all nets that have no threshold before them."""
    sound = [row for row in rows if not row["name"].startswith(_THRESHOLD)]
    far = [abs(row[name] - row["final"]) for row in sound]
    order = spearmanr([row[name] for row in sound], [row["final"] for row in sound]).statistic
    yield f"Spearman {order:.3f}"
    yield f"within {100 * FAR:g} points {sum(one <= FAR + 1e-9 for one in far)} of {len(far)}"
    yield f"largest {100 * max(far):.1f}"


def _measure(name: str, dataset: Dataset) -> dict[str, Any]:
    net, split = _net(name, dataset), dataset.validation.head(NUM_IMAGES)
    with patch.dict(TIERS, rank=(*TIERS["rank"][:-1], RANKED)):
        metrics, robust_s = _timed(lambda: evaluate(net, split, epsilon=EPSILON, tier="rank"))
    gradients, gradients_s = _timed(lambda: _gradients_alone(net, split))
    final, final_s = _final(name, net, split, dataset)
    return {
        "name": name,
        "clean": metrics["clean"],
        "robust": metrics["robust"],
        "robust_s": robust_s,
        "gradients": gradients,
        "gradients_s": gradients_s,
        "final": final,
        "final_s": final_s,
        "failures": metrics["masking_failures"],
    }


def _gradients_alone(net: nn.Module, split: Split) -> float:
    """Return the accuracy under the gradient attacks of a run's end, as it was measured without Square."""

    def margin(*arguments: Any, rng: torch.Generator) -> torch.Tensor:
        return apgd(*arguments, steps=40, loss=losses.margin, rng=rng)

    table = [row for row in attacks_of("rank") if not row.survivors_only]
    with evaluating(net):
        results = run_attacks(net, split, EPSILON, [*table, Attack("margin", margin, True)], torch.Generator())
    return results.accuracies()["robust"]


def _final(name: str, net: nn.Module, split: Split, dataset: Dataset) -> tuple[float, float]:
    kept = _folder() / f"{name}-final-{NUM_IMAGES}.json"
    if not kept.exists():
        training = dataset.train.head(NUM_TRAINING)
        found, seconds = _timed(lambda: evaluate_final(net, split, epsilon=EPSILON, training=training, surrogates={}))
        kept.write_text(json.dumps([found["metrics"]["robust"], seconds, found]))
    robust, seconds, _ = json.loads(kept.read_text())
    return robust, seconds


def _net(name: str, dataset: Dataset) -> nn.Module:
    recipe = NETS.get(name, NETS["standard-3"])  # other nets are loaded, and trained by nobody here
    settings = {"report_every": recipe["compute"], "evaluation": {"rank_images": 1}, **recipe}
    is_behind = name.startswith(_THRESHOLD)
    loop = registry.build(parse(settings), _black_and_white(dataset) if is_behind else dataset)
    weights = _folder() / f"{name}.safetensors"
    if not weights.exists():
        loop.step()
        save_file(loop.classifier.state_dict(), weights)
    loop.classifier.load_state_dict(load_file(weights))
    return (Thresholded(loop.classifier) if is_behind else loop.classifier).eval()


def _black_and_white(dataset: Dataset) -> Dataset:
    def changed(split: Split) -> Split:
        return replace(split, images=((split.images > 127) * 255).to(torch.uint8))

    splits = {name: changed(getattr(dataset, name)) for name in ("train", "validation", "test")}
    return replace(dataset, **splits)


def _folder() -> Path:
    folder = cache_folder("benchmarks") / "objective"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _timed(function: Callable[[], Result]) -> tuple[Result, float]:
    started = time.thread_time()
    result = function()
    return result, time.thread_time() - started
