"""A bundle as MLflow loads it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables.common.tasks import MNIST
from trainables.config import parse
from trainables.data.tensors import load_dataset
from trainables.networks.bundle import read_bundle, write_classifier
from trainables.networks.classifiers import build_classifier
from trainables.networks.registered import _load_pyfunc, example_images

SETTINGS = {"trainable": "standard", "dataset": {"name": "digits", "validation": 200}}


@pytest.fixture
def bundle(tmp_path):
    config = parse(SETTINGS)
    torch.manual_seed(0)
    write_classifier(tmp_path, config.model_dump(mode="json"), build_classifier(config.classifier, MNIST).state_dict())
    return tmp_path


def test_it_gives_the_logits_of_the_bundles_classifier_for_any_number_of_images(bundle):
    _, classifier = read_bundle(bundle)
    images, _ = load_dataset(parse(SETTINGS).dataset).train.batch(torch.arange(1100))
    model = _load_pyfunc(str(bundle))
    logits = model.predict(images.numpy())
    with torch.no_grad():
        expected = torch.cat([classifier(images[:1000]), classifier(images[1000:])])
    assert np.array_equal(logits, expected.numpy())
    assert model.predict(images[:0].numpy()).shape == (0, 10)
    assert np.array_equal(model.predict(images[:1].double().numpy()), model.predict(images[:1].numpy()))
    changed = images[:1].clone().requires_grad_()
    model.get_raw_model()(changed).sum().backward()
    assert changed.grad.abs().sum() > 0


def test_examples_are_validation_images_or_black_ones(tmp_path, monkeypatch):
    images = example_images(SETTINGS)
    assert (images.shape, images.dtype) == ((2, 1, 28, 28), np.float32)
    assert 0 < images.max() <= 1
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    black = example_images({**SETTINGS, "dataset": {"name": "mnist"}}, tmp_path / "empty")
    assert (black.shape, black.dtype, black.max()) == ((2, 1, 28, 28), np.float32, 0)
