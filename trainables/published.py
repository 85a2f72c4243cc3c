"""Published settings by name, as plain data: a training run as its authors made it, as far as it has our settings.

What the authors leave open is our default, or stands under a comment that says so; `compute` is what the published
number of epochs costs. Imports nothing, so that a name is known before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A configuration as it was published: who, where, and the settings, nested, with the key ``trainable``."""

    source: str
    settings: Mapping[str, Any]


def _paper(table: int, ratio: Mapping[str, Any]) -> Published:
    """Return the paper's generator (image alone in, at most 0.5 out, loss 1 - wrongness) under one ratio schedule."""
    return Published(
        f"Chu and Collins (Teknos), Table {table}",
        {
            "trainable": "gan",
            "generator": {
                "body": "strided",  # ours: the paper says of its networks nothing
                "image_gradient": "none",
                "random_start": False,
                "warmup": 0.0,
                "perturbation_bound": 0.5,
                "loss": "wrongness",
            },
            "ratio": {**ratio, "turn_batches": None},
            # The paper trains on images first, then on images and perturbed images; for how long and how mixed is ours.
            "pretrain": 1.0,
            "clean_weight": 0.5,
        },
    )


PUBLISHED: dict[str, Published] = {
    "goodfellow_2014": Published(
        "Goodfellow et al. 2014, Explaining and Harnessing Adversarial Examples, section 6 (with maxout networks)",
        {"trainable": "fgsm_retraining", "attack": {"epsilon": 0.25, "warmup": 0.0}, "clean_weight": 0.5},
    ),
    "madry_2018": Published(
        "Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, MNIST (100,000 updates)",
        {
            "trainable": "pgd",
            "classifier": {"architecture": "madry_cnn", "learning_rate": 1e-4, "schedule": "constant"},
            "attack": {"epsilon": 0.3, "warmup": 0.0, "steps": 40, "reach": 40 * 0.01 / 0.3, "clipped_start": True},
            "batch_size": 50,
            "compute": 2340.0,
        },
    ),
    "wong_2020": Published(
        "Wong et al. 2020, Fast is Better than Free: Revisiting Adversarial Training, MNIST (10 epochs)",
        {
            "trainable": "fgsm_random_start",
            "classifier": {"architecture": "small_cnn", "learning_rate": 5e-3, "schedule": "cyclic"},
            "attack": {"epsilon": 0.3, "warmup": 0.0, "steps": 1, "reach": 1.25, "clipped_start": False},
            "batch_size": 100,
            "compute": 16.9,
        },
    ),
    "paper_constant_2": _paper(1, {"kind": "constant", "generator_turns": 2}),
    "paper_constant_4": _paper(2, {"kind": "constant", "generator_turns": 4}),
    "paper_stepped_6_8_12": _paper(3, {"kind": "stepped", "steps": [6, 8, 12]}),
    # The cap is ours, so that a cycle ends; above 700:1 was seen there.
    "paper_adaptive": _paper(4, {"kind": "adaptive", "target_generator_loss": 0.6, "max_generator_turns": 700}),
}
