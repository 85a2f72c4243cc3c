"""What the tests of this room share: real digits, a small trained net, and configurations that take a blink."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from trainables.config import CONFIGURATIONS, parse
from trainables.data import files as data_files
from trainables.data.tensors import Dataset, load
from trainables.errors import DataError
from trainables.networks.classifiers import LeadingDimensions
from trainables.training import registry

# What a recipe needs beside the tiny budget; one that is not named here needs nothing.
OF_RECIPE = {"gan": {"pretrain": 0.25, "generator": {"width": 4}}}


def rng_of(seed=0):
    return torch.Generator().manual_seed(seed)


def random_problem(seed, leading=(6,)):
    """Return a random small net, images that touch both ends of the box, and labels."""
    rng = rng_of(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 12), nn.Tanh(), nn.Linear(12, 10))
    images = (1.4 * torch.rand(*leading, 1, 28, 28, generator=rng) - 0.2).clamp(0, 1)
    return LeadingDimensions(net), images, torch.randint(10, leading, generator=rng)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits", validation=200)


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    try:
        data_files.ensure("mnist")
    except DataError as error:
        pytest.skip(f"MNIST cannot be had here: {str(error).splitlines()[0]}")
    return load("mnist", validation=5000)


@pytest.fixture(scope="session")
def few_digits(digits) -> Dataset:
    """A training set of 300, so that an epoch is 19 minibatches of 16, the last one smaller."""
    return replace(digits, train=digits.train.head(300))


@pytest.fixture(scope="session")
def settings_of():
    """Return the plain settings of a tiny run; keyword arguments replace whole sections."""

    def build(trainable, **changes):
        tiny = {
            "trainable": trainable,
            "dataset": {"name": "digits", "validation": 200},
            "evaluation": {"epsilon": 0.1, "watch_images": 20, "rank_images": 30},
            "classifier": {"architecture": "mlp", "learning_rate": 1e-3},
            "batch_size": 16,
            "compute": 2.0,
            "report_every": 0.5,
            **OF_RECIPE.get(trainable, {}),
            **changes,
        }
        # Every run of a few minibatches would do as well with any seed, but not with the same one as its neighbour.
        return {"seed": list(CONFIGURATIONS).index(trainable), **tiny}

    return build


@pytest.fixture(scope="session")
def config_of(settings_of):
    return lambda trainable, **changes: parse(settings_of(trainable, **changes))


@pytest.fixture(scope="session")
def loop_of(config_of, few_digits):
    return lambda trainable, **changes: registry.build(config_of(trainable, **changes), few_digits)


@pytest.fixture(scope="session")
def trained(digits, config_of):
    """A net that tells digits apart and falls to attacks: in evaluation mode, shared, not to be changed."""
    loop = registry.build(config_of("standard", compute=4.0, report_every=4.0, batch_size=64), digits)
    loop.step()
    return loop.classifier.eval()
