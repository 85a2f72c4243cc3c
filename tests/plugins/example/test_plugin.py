"""What the product asks of plug-ins: run it with `pytest` where this one is installed."""

from trainables.testing import AttackTests, DatasetTests, NetworkTests, RecipeTests


class TestBars(DatasetTests):
    dataset = "bars"


class TestTinyCnn(NetworkTests):
    network = "tiny_cnn"


class TestCorners(AttackTests):
    attack = "corners"


class TestNoiseTraining(RecipeTests):
    recipe = "noise_training"
    settings = {"deviation": 0.2}
