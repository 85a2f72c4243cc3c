"""The settings of a recipe, a network and an attack, and where each is. Spaces are checked with it: no torch here."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from trainables.config import Configured, Recipe, Settings, TrainingConfig


class TinyCnnConfig(Settings):
    """The network `tiny_cnn`; `width` is how many channels its first convolution has."""

    width: int = Field(default=8, ge=1, le=64)


class CornersConfig(Settings):
    """The attack `corners`; `tries` is how many corners it looks at."""

    tries: int = Field(default=4, ge=1, le=1000)


class NoiseTrainingConfig(TrainingConfig):
    """Training on images with Gaussian noise.

    Attributes:
        deviation: standard deviation of the noise, in pixels of [0, 1].
    """

    trainable: Literal["noise_training"] = "noise_training"
    deviation: float = Field(default=0.1, ge=0.0, le=1.0)


TINY_CNN = Configured(TinyCnnConfig, "example_plugin.networks:tiny_cnn")
CORNERS = Configured(CornersConfig, "example_plugin.attacks:corners")
NOISE_TRAINING = Recipe(NoiseTrainingConfig, loop="example_plugin.training:NoiseTrainingLoop")
BARS_NOISE = Path(__file__).with_name("bars_noise.yaml")
