"""Golden metrics: what every recipe measures of one tiny run on digits, and the same through the rows of a package.

The numbers were measured on an AMD EPYC with AVX2 and on an Intel Xeon with AVX-512, where they hold to the last digit
that is shown: the sums of a convolution are rounded in another order. On other processors a loss may differ by
`TOLERANCE`, and an accuracy by one image.
That a row of a package gives the numbers of ours is compared bit for bit, on every machine.
"""

import pytest
import torch

from tests.support.plugins import installed, write_package
from tests.trainables.conftest import OF_RECIPE
from trainables.config import parse
from trainables.config.plugins.registries import RECIPES
from trainables.training import registry

NUM_IMAGES = 40
TOLERANCE = 1e-4
POINTS = """\
[adversarial_tuner.classifiers]
theirs = golden:THEIRS

[adversarial_tuner.attacks]
their_fgsm = trainables.attacks.gradient:fgsm
"""
MODULE = """\
from trainables.config import Configured, Settings

class TheirSettings(Settings):
    pass

THEIRS = Configured(TheirSettings, "trainables.networks.classifiers:small_cnn")
"""
GOLDEN: dict[str, tuple[float, float, float]] = {
    "standard": (1.485780, 0.85, 0.25),
    "fgsm_retraining": (2.278421, 0.275, 0.05),
    "fgsm_random_start": (2.311509, 0.05, 0.05),
    "pgd": (2.333651, 0.15, 0.0),
    "trades": (2.305616, 0.05, 0.0),
    "gan": (2.259401, 0.175, 0.05),
    "attack_training": (2.291096, 0.075, 0.0),
}
"""Of each recipe: the classifier's loss, and its accuracy without an attack and under all attacks."""
if torch.backends.cpu.get_cpu_capability() == "AVX512":
    GOLDEN |= {
        "fgsm_retraining": (2.278403, 0.2, 0.05),
        "trades": (2.305618, 0.05, 0.025),
        "attack_training": (2.291149, 0.075, 0.0),
    }


@pytest.fixture(autouse=True)
def package(tmp_path):
    place = write_package(tmp_path, "golden-package", POINTS)
    (place / "golden.py").write_text(MODULE)
    with installed(place):
        yield


def run(recipe, images, **changes):
    settings = {
        "trainable": recipe,
        "dataset": {"name": "digits"},
        "evaluation": {"epsilon": 0.1, "watch_images": NUM_IMAGES, "rank_images": NUM_IMAGES},
        "classifier": {"architecture": "small_cnn", "learning_rate": 2e-3},
        "batch_size": 32,
        "compute": 3.0,
        "report_every": 3.0,
        **OF_RECIPE.get(recipe, {}),
        **changes,
    }
    loop = registry.build(parse(settings), images)
    report = loop.step()
    return {name: value for name, value in report.items() if not name.endswith("_s")}, loop.classifier.state_dict()


@pytest.mark.parametrize("recipe", RECIPES.ours)
def test_numbers_are_those_that_they_were_and_those_of_a_row_of_a_package(recipe, few_digits):
    torch.set_num_threads(1)
    report, weights = run(recipe, few_digits)
    loss, clean, robust = GOLDEN[recipe]
    assert report["classifier_loss"] == pytest.approx(loss, abs=TOLERANCE)
    for name, share in (("watch/clean", clean), ("watch/robust", robust)):
        assert report[name] == pytest.approx(share, abs=1 / NUM_IMAGES + 1e-9)
    theirs = {"classifier": {"architecture": "theirs", "learning_rate": 2e-3}}
    if recipe == "attack_training":
        theirs["attack"] = {"name": "their_fgsm"}
    other, other_weights = run(recipe, few_digits, **theirs)
    assert other == report
    assert all(torch.equal(value, other_weights[name]) for name, value in weights.items())
