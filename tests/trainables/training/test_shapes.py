"""Images of other shapes and other numbers of classes than MNIST's: every recipe, generator and attack takes them."""

import copy

import pytest
import torch

from tests.support.networks import small_builder
from trainables.common.tasks import Task
from trainables.config import CONFIGURATIONS
from trainables.config.plugins.registries import CLASSIFIERS, GENERATORS
from trainables.data.tensors import Dataset, Split
from trainables.judging.final import AttackBudget, evaluate_final
from trainables.training import registry

SHAPES = {"colour": ((3, 12, 12), 3), "odd sides": ((2, 13, 9), 4), "two classes": ((1, 8, 8), 2)}
GENERATOR = {"width": 4, "see_label": True, "see_perturbation": True, "noise": 2, "recursions": 2}


def dataset_of(image_shape, num_classes):
    """Return images whose brightness depends on their class, as bytes and, to test on, as floats."""
    task = Task(image_shape, tuple(f"class {label}" for label in range(num_classes)))
    rng = torch.Generator().manual_seed(0)

    def split(num_images):
        labels = torch.arange(num_images) % num_classes
        noise = torch.randint(0, 120, (num_images, *image_shape), generator=rng)
        return Split((noise + 40 * labels.view(-1, 1, 1, 1)).clamp(0, 255).to(torch.uint8), labels, task)

    test = split(20)
    as_floats = Split(test.images.div(255), test.labels, task)
    return Dataset("made", split(48), split(20), as_floats, "made")


@pytest.fixture(params=SHAPES)
def dataset(request):
    return dataset_of(*SHAPES[request.param])


@pytest.mark.parametrize("trainable", CONFIGURATIONS)
def test_every_recipe_trains_and_goes_on(trainable, dataset, config_of):
    changes = {"pretrain": 0.2, "generator": GENERATOR} if trainable == "gan" else {}
    config = config_of(trainable, compute=1.0, report_every=0.5, **changes)
    loop = registry.build(config, dataset)
    metrics = loop.step()
    assert 0 <= metrics["watch/robust"] <= metrics["watch/clean"] <= 1
    other = registry.build(config, dataset)
    other.restore(copy.deepcopy(loop.state()))
    reports = [loop.step(), other.step()]
    assert len({tuple(value for name, value in each.items() if not name.endswith("_s")) for each in reports}) == 1


@pytest.mark.parametrize("body", GENERATORS)
def test_every_body_perturbs_within_its_bound(body, dataset, config_of):
    loop = registry.build(config_of("gan", generator={**GENERATOR, "body": body}), dataset)
    images, labels = dataset.test.batch(torch.arange(20))
    perturbed = loop.perturb(images, labels)
    assert perturbed.shape == images.shape
    assert 0 < (perturbed - images).abs().max() <= loop.bound + 1e-6


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_every_network_has_as_many_logits_as_there_are_classes(architecture, dataset):
    channels_and_sides, num_classes = dataset.task.image_shape, dataset.task.num_classes
    network = small_builder(architecture)(channels_and_sides, num_classes)
    assert network(torch.rand(5, *channels_and_sides)).shape == (5, num_classes)


def test_the_strongest_attacks_run(dataset, config_of):
    loop = registry.build(config_of("standard", compute=3.0, report_every=3.0), dataset)
    loop.step()
    budget = AttackBudget(steps=3, restarts=1, queries=20)
    surrogates = {"itself": loop.classifier}
    found = evaluate_final(
        loop.classifier, dataset.test, epsilon=0.2, training=dataset.train, surrogates=surrogates, budget=budget
    )
    metrics = found["metrics"]
    assert metrics["robust"] <= metrics["fgsm"] <= metrics["clean"] + 1e-9 or metrics["masking_label_leaking"]
    assert set(metrics) >= {"square", "white_box", "black_box", "masking_large_epsilon"}
