"""A run seen close up: what is shown is what the attacks, the generator and the classifier of its checkpoint make."""

import numpy as np
import pytest
import torch

from trainables.attacks.gradient import fgsm
from trainables.config import parse
from trainables.errors import CheckpointError
from trainables.evaluation.epsilon_curve import EPSILONS
from trainables.judging.examples import render_examples
from trainables.storage import checkpoint
from trainables.storage.checkpoint import RunCheckpoint
from trainables.training import registry
from trainables.training.success import success_matrix

GENERATOR = {"pretrain": 0.25, "generator": {"width": 4, "perturbation_bound": 0.2, "random_start": True}}


@pytest.fixture(scope="module")
def saved(few_digits, settings_of, tmp_path_factory):
    """Return a function that trains a tiny run once, and returns its settings, its last checkpoint and its loop."""
    runs = {}

    def save(trainable):
        if trainable not in runs:
            settings = settings_of(trainable, **(GENERATOR if trainable == "gan" else {}))
            loop = registry.build(parse(settings), few_digits)
            folder = tmp_path_factory.mktemp(trainable)
            while not loop.done:
                metrics = loop.step()
                checkpoint.save(folder, loop.num_reports, {"loop": loop.state(), "metrics": metrics})
            runs[trainable] = settings, RunCheckpoint(folder, loop.num_reports), loop
        return runs[trainable]

    return save


@pytest.mark.parametrize("trainable", registry.LOOPS)
def test_every_recipe_shows_one_image_of_each_class_clean_and_under_fgsm(trainable, saved, few_digits):
    settings, last, loop = saved(trainable)
    seen = render_examples(settings, last, few_digits)
    assert seen.labels == list(range(10))
    labels = few_digits.validation.labels.tolist()
    images, targets = few_digits.validation.batch(torch.tensor([labels.index(label) for label in range(10)]))
    attacked = fgsm(loop.classifier, images, targets, 0.1)
    for view, expected in ((seen.clean, images), (seen.perturbed["FGSM"], attacked)):
        probabilities = loop.classifier(expected).softmax(-1)
        assert np.array_equal(view.images, expected.squeeze(1).numpy())
        assert view.images.dtype == np.float32
        assert view.predicted == probabilities.argmax(-1).tolist()
        assert view.probabilities == probabilities.amax(-1).tolist()
    assert (seen.clean.bound, seen.perturbed["FGSM"].bound) == (0.0, 0.1)
    assert set(seen.perturbed) - {"FGSM"} == ({"generator"} if trainable == "gan" else set())


def test_a_generator_is_shown_within_its_bound_and_never_twice_differently(saved, few_digits):
    settings, last, _ = saved("gan")
    state = torch.random.get_rng_state()
    first, second = (render_examples(settings, last, few_digits) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    view = first.perturbed["generator"]
    assert view.bound == 0.2
    assert 0.01 < np.abs(view.images - first.clean.images).max() <= 0.2 + 1e-6
    assert 0 <= view.images.min() <= view.images.max() <= 1
    assert np.array_equal(view.images, second.perturbed["generator"].images)
    assert view.predicted == second.perturbed["generator"].predicted
    assert first.accuracy_by_epsilon == second.accuracy_by_epsilon


def test_the_bound_is_that_of_the_checkpoint(few_digits, settings_of, tmp_path):
    settings = settings_of("gan", pretrain=0.25, generator={"width": 4, "perturbation_bound": 0.4, "warmup": 1.0})
    loop = registry.build(parse(settings), few_digits)
    metrics = loop.step()
    checkpoint.save(tmp_path, 1, {"loop": loop.state(), "metrics": metrics})
    assert (
        render_examples(settings, RunCheckpoint(tmp_path, 1), few_digits).perturbed["generator"].bound
        == loop.bound
        < 0.15
    )


def test_accuracy_by_epsilon_begins_with_the_clean_accuracy(saved, few_digits):
    settings, last, loop = saved("standard")
    seen = render_examples(settings, last, few_digits)
    images, labels = few_digits.validation.batch(torch.arange(200))
    assert seen.num_images == 200
    assert seen.accuracy_by_epsilon[0.0] == (loop.classifier(images).argmax(-1) == labels).double().mean().item()
    assert list(seen.accuracy_by_epsilon) == list(EPSILONS[: len(seen.accuracy_by_epsilon)])
    assert list(seen.accuracy_by_epsilon.values())[-1] == 0


def test_classes_that_no_validation_image_has_are_left_out(saved, few_digits):
    settings, last, _ = saved("standard")
    some = type(few_digits)("digits", few_digits.train, few_digits.validation.head(3), few_digits.test, "")
    assert render_examples(settings, last, some).labels == sorted(set(few_digits.validation.labels[:3].tolist()))


def test_the_epsilons_are_twentieths_up_to_one():
    assert EPSILONS[:4] == (0.0, 0.05, 0.1, 0.15)
    assert EPSILONS[-1] == 1.0


def test_no_checkpoint_and_one_that_does_not_fit_are_told_apart(saved, few_digits, tmp_path):
    settings, last, _ = saved("standard")
    with pytest.raises(CheckpointError, match="00000001, cannot be used: it is not there; others there: none"):
        render_examples(settings, RunCheckpoint(tmp_path, 1), few_digits)
    other = {**settings, "classifier": {"architecture": "small_cnn"}}
    with pytest.raises(CheckpointError, match="does not fit its settings"):
        render_examples(other, last, few_digits)


def test_the_success_matrix_is_that_of_the_runs_generator(saved, few_digits):
    settings, last, loop = saved("gan")
    expected = success_matrix(loop.classifier, loop.adversary, few_digits.validation, 0.2, loop.config.seed)
    rates = render_examples(settings, last, few_digits).success
    assert np.array_equal(rates, expected.numpy())
    assert rates.sum(1) == pytest.approx(np.ones(10))
    settings, last, _ = saved("standard")
    assert render_examples(settings, last, few_digits).success is None
