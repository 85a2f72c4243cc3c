"""What this package has passes the tests that others' plug-ins are given."""

import pytest

from tests.support.networks import small_builder
from tests.trainables.attacks.test_attacks import ATTACKS
from tests.trainables.conftest import OF_RECIPE
from trainables.config.plugins.registries import CLASSIFIERS, RECIPES
from trainables.data import files as data_files
from trainables.testing import AttackTests, DatasetTests, NetworkTests, RecipeTests


class TestRecipes(RecipeTests):
    @pytest.fixture(params=RECIPES.ours)
    def new_loop(self, request):
        return self.maker(request.param, OF_RECIPE.get(request.param, {}))


class TestAttacks(AttackTests):
    @pytest.fixture(params=ATTACKS.values(), ids=ATTACKS)
    def run_attack(self, request):
        return request.param


class TestNetworks(NetworkTests):
    @pytest.fixture(params=CLASSIFIERS.ours)
    def build(self, request):
        return small_builder(request.param)


class TestDigits(DatasetTests):
    @pytest.fixture
    def load_images(self):
        def load():
            images, labels = data_files.read_digits()
            return {"images": images.astype("float32") / 16, "labels": labels}

        return load
