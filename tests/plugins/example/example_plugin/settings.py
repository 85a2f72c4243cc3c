"""A recipe's settings, and where its loop is. Spaces are checked with this module, so it imports no torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from trainables.config import Recipe, TrainingConfig


class NoiseTrainingConfig(TrainingConfig):
    """Training on images with Gaussian noise.

    Attributes:
        deviation: standard deviation of the noise, in pixels of [0, 1].
    """

    trainable: Literal["noise_training"] = "noise_training"
    deviation: float = Field(default=0.1, ge=0.0, le=1.0)


NOISE_TRAINING = Recipe(NoiseTrainingConfig, loop="example_plugin.training:NoiseTrainingLoop")
BARS_NOISE = Path(__file__).with_name("bars_noise.yaml")
