"""Seconds of our attacks beside foolbox's and pyautoattack's: same nets, same test images, same steps, one core.

The attacks take turns, batch by batch, so that whatever else the machine does meets all of them, and processor time is
counted. Ours are given a classifier of ours, the others the same layers and weights as a plain `torch.nn.Sequential`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import nn

from trainables.attacks import gradient as attacks
from trainables.attacks.apgd import apgd
from trainables.attacks.square import square
from trainables.config import parse
from trainables.data.tensors import Dataset, load
from trainables.storage.atomic import cache_folder
from trainables.training import registry
from trainables.training.machine.runtime import keep_freed_memory

EPSILON = 0.3
NUM_IMAGES = 1000
BATCH_SIZE = 250  # pyautoattack's own
PGD_STEPS, APGD_STEPS, QUERIES = 40, 100, 1000
STEP_SIZE = 2.5 * EPSILON / PGD_STEPS
NETS = {"robust": {"trainable": "pgd", "compute": 20.0}, "standard": {"trainable": "standard", "compute": 2.0}}

AttackFn = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def ours(attack: Callable[..., torch.Tensor], **settings: object) -> AttackFn:
    rng = torch.Generator().manual_seed(0)
    return lambda net, images, labels: attack(net, images, labels, EPSILON, rng=rng, **settings)


def foolbox_pgd(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports from a namespace that scipy gives up
        import foolbox
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=PGD_STEPS, random_start=True)
    found: torch.Tensor = attack(foolbox.PyTorchModel(net, (0, 1), device="cpu"), images, labels, epsilons=EPSILON)[1]
    return found


def their_apgd(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    from pyautoattack.autopgd_base import APGDAttack

    return APGDAttack(net, n_iter=APGD_STEPS, eps=EPSILON, seed=0, device="cpu").perturb(images, labels)


def their_square(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    from pyautoattack.square import SquareAttack

    return SquareAttack(net, n_queries=QUERIES, eps=EPSILON, seed=0, device="cpu").perturb(images, labels)


PGD = {"steps": PGD_STEPS, "step_size": STEP_SIZE}
ATTACKS: dict[str, AttackFn] = {
    "PGD-40": ours(attacks.pgd, **PGD),
    "PGD-40, survivors only": ours(attacks.pgd_survivors, **PGD),
    "PGD-40 of foolbox": foolbox_pgd,
    "APGD-CE-100": ours(apgd, steps=APGD_STEPS),
    "APGD-CE-100 of pyautoattack": their_apgd,
    "Square-1000": ours(square, queries=QUERIES),
    "Square-1000 of pyautoattack": their_square,
}
COMPARED = [
    ("PGD-40", "PGD-40 of foolbox", {"robust": 1.5}),
    ("PGD-40, survivors only", "PGD-40", {"standard": 1.5}),
    ("APGD-CE-100", "APGD-CE-100 of pyautoattack", {"robust": 1.5}),
    ("Square-1000", "Square-1000 of pyautoattack", {}),
]
"""Two attacks, and the ratio of their seconds that is aimed at where it is not 1."""
THEIRS = {name for name in ATTACKS if " of " in name}


def measure() -> Table:
    """Return seconds and accuracies of every attack on each net."""
    table = Table(title=f"attacks: seconds (accuracy) on one core, {NUM_IMAGES:,} MNIST test images, epsilon {EPSILON}")
    for name in ("net, attack", "ours", "against", "theirs", "ratio", "aim"):
        table.add_column(name, justify="left" if name in ("net, attack", "against") else "right")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = load("mnist", validation=5000)
    for name in NETS:
        images, labels = dataset.test.batch(torch.arange(NUM_IMAGES))
        seconds, accuracies = _run_all(_net(name, dataset), images, labels)
        for attack, other, aims in COMPARED:
            cells = [f"{seconds[which]:.1f} ({100 * accuracies[which]:.1f})" for which in (attack, other)]
            ratio = seconds[other] / seconds[attack]
            table.add_row(f"{name}, {attack}", cells[0], other, cells[1], f"{ratio:.2f}", f">= {aims.get(name, 1.0):g}")
        table.add_section()
    torch.set_num_threads(num_threads)
    return table


def robust_weights() -> Path:
    """Return the file with the weights of the robust net, which is trained if it is not there."""
    _net("robust", load("mnist", validation=5000))
    return _weights("robust")


def _weights(name: str) -> Path:
    settings = NETS[name]
    return cache_folder("benchmarks") / f"{settings['trainable']}-{settings['compute']:g}.safetensors"


def _net(name: str, dataset: Dataset) -> nn.Module:
    """Return a trained small_cnn; its weights are kept beside the datasets for the next time."""
    settings = {"report_every": 1e3, "evaluation": {"rank_images": 1}, **NETS[name]}
    loop = registry.build(parse(settings), dataset)
    weights = _weights(name)
    if weights.exists():
        loop.classifier.load_state_dict(load_file(weights))
    else:
        loop.step()
        weights.parent.mkdir(parents=True, exist_ok=True)
        save_file(loop.classifier.state_dict(), weights)
    return loop.classifier.eval()


def plain(net: nn.Module) -> nn.Sequential:
    """Return a small_cnn as the users of other libraries have it: layers of torch, with the weights of one of ours."""
    layers = nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )
    layers.load_state_dict({name.removeprefix("body."): weight for name, weight in net.state_dict().items()})
    return layers.eval()


def _run_all(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[dict[str, float], dict[str, float]]:
    sides = {name: plain(net) if name in THEIRS else net for name in ATTACKS}
    for name, attack in ATTACKS.items():
        attack(sides[name], images[:2], labels[:2])  # what is imported, and what is done only once
    seconds, num_right = dict.fromkeys(ATTACKS, 0.0), dict.fromkeys(ATTACKS, 0)
    for some, of_some in zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True):
        for name, attack in ATTACKS.items():
            started = time.thread_time()
            found = attack(sides[name], some, of_some)
            seconds[name] += time.thread_time() - started
            with torch.no_grad():
                num_right[name] += int((net(found).argmax(-1) == of_some).sum())
    return seconds, {name: count / len(labels) for name, count in num_right.items()}
