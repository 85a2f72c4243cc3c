"""Tests for what others add: a plug-in's author makes classes from these, and pytest runs them.

    from trainables.testing import AttackTests, DatasetTests, NetworkTests, RecipeTests

    class TestNoiseTraining(RecipeTests):
        recipe = "noise_training"
        settings = {"deviation": 0.2}

Recipes, attacks, networks and datasets of this package pass the same tests. They need pytest, and no GPU.
"""

from trainables.testing.attacks import AttackTests
from trainables.testing.datasets import DatasetTests
from trainables.testing.networks import NetworkTests
from trainables.testing.recipes import RecipeTests

__all__ = ["AttackTests", "DatasetTests", "NetworkTests", "RecipeTests"]
