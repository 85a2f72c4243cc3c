"""Published configurations by name, as plain data: training runs with the settings that their authors published.

A setting that the authors do not mention has our default, or a comment that says it is ours. ``compute`` is the cost of
the published number of epochs. Imports nothing heavy, so that a command can check a name before it loads anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A published configuration.

    Attributes:
        source: authors, year, title and the experiment.
        settings: nested, as `trainables.config.parse` takes them.
    """

    source: str
    settings: Mapping[str, Any]


def _paper(table: int, ratio: Mapping[str, Any]) -> Published:
    """Return a configuration of the paper: its generator under the ratio schedule of one table.

    The generator sees the image alone, perturbs by at most 0.5 and minimises 1 - wrongness.
    """
    return Published(
        f"Chu and Collins (Teknos), Table {table}",
        {
            "trainable": "gan",
            "generator": {
                "body": "strided",  # ours: the paper does not describe its networks
                "image_gradient": "none",
                "random_start": False,
                "warmup": 0.0,
                "perturbation_bound": 0.5,
                "loss": "wrongness",
            },
            "ratio": {**ratio, "turn_batches": None},
            # The paper trains on clean images, then on clean and perturbed ones; the lengths and the mix are ours.
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
    "zhang_2019": Published(
        "Zhang et al. 2019, TRADES, its MNIST script (100 epochs; a larger network, steps from near the image)",
        {
            "trainable": "trades",
            # Theirs is a tenth from epoch 55 on; ours falls again at three quarters.
            "classifier": {"learning_rate": 0.01, "schedule": "step", "optimizer": "sgd"},
            "attack": {"epsilon": 0.3, "warmup": 0.0, "steps": 40, "reach": 40 * 0.01 / 0.3},
            "beta": 1.0,
            "batch_size": 128,
            "compute": 2980.0,
        },
    ),
    "jang_2019": Published(
        "Jang et al. 2019, Adversarial Defense via Learning to Generate Diverse Attacks, MNIST (100,000 updates)",
        {
            "trainable": "gan",
            "classifier": {
                "learning_rate": 0.01,
                "schedule": "step",
                "optimizer": "sgd",
                "weight_decay": 1e-5,
                "gradient_clip": 1.0,
            },
            "generator": {
                "image_gradient": "normalized",
                "see_label": True,
                "see_perturbation": True,
                "noise": 8,
                "perturbation_bound": 0.3,
                "random_start": False,
                "warmup": 0.0,
                "recursions": 10,
                "recursion_step": 0.25,
                "loss": "cross_entropy",
                "diversity": 0.02,
                "draws": 2,
                "minibatch": "same",
                "optimizer": "sgd",
                "learning_rate": 0.01,
                "gradient_clip": 1.0,
            },
            "ratio": {"kind": "constant", "generator_turns": 1, "turn_batches": 1},
            "pretrain": 1.67,  # 1,000 minibatches
            "clean_weight": 1 / 3,  # one clean image to two draws
            "batch_size": 100,
        },
    ),
    "jiang_2018": Published(
        "Jiang et al. 2018, Learning to Defend by Learning to Attack (CIFAR-10; classifier settings are ours)",
        {
            "trainable": "gan",
            "generator": {
                "body": "residual",
                "output_scale": 5.0,
                "image_gradient": "raw",
                "perturbation_bound": 0.3,  # ours, for MNIST
                "random_start": False,
                "warmup": 0.0,
                "loss": "cross_entropy",
                "minibatch": "same",
                "optimizer": "adam",
                "learning_rate": 1e-3,
            },
            "ratio": {"kind": "constant", "generator_turns": 1, "turn_batches": 1},
            "pretrain": 0.0,
            "clean_weight": 0.0,
            "batch_size": 128,
        },
    ),
    "paper_constant_2": _paper(1, {"kind": "constant", "generator_turns": 2}),
    "paper_constant_4": _paper(2, {"kind": "constant", "generator_turns": 4}),
    "paper_stepped_6_8_12": _paper(3, {"kind": "stepped", "steps": [6, 8, 12]}),
    # The maximum is ours, so that every cycle ends; the paper reports ratios above 700:1.
    "paper_adaptive": _paper(4, {"kind": "adaptive", "target_generator_loss": 0.6, "max_generator_turns": 700}),
}
