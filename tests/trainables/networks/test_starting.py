"""Fine-tuning: a classifier starts from a state dict, perhaps of other classes, or says why it cannot."""

import pytest
import torch
from safetensors.torch import save_file

from trainables.common.tasks import Task
from trainables.config import ClassifierConfig, parse
from trainables.data.tensors import Dataset, Split
from trainables.errors import BundleError, UserError
from trainables.networks.classifiers import build_classifier
from trainables.networks.state_dicts import provide_weights, sentence_on_start, start_classifier
from trainables.storage import checkpoint
from trainables.training import registry

SHAPE = (3, 32, 32)
TEN, THREE = Task(SHAPE, tuple("0123456789")), Task(SHAPE, ("a", "b", "c"))
NETWORK = {"architecture": "preact_resnet18", "width": 8}


@pytest.fixture
def trained():
    return build_classifier(ClassifierConfig(**NETWORK), TEN, seed=7).state_dict()


def start(path, task, **network):
    config = ClassifierConfig(**{**NETWORK, **network}, start=str(path))
    code = {path.name: provide_weights(path)}
    classifier = build_classifier(config, task, seed=1)
    return (
        start_classifier(classifier, config, task, code),
        classifier.state_dict(),
        sentence_on_start(config, task, code),
    )


def saved_by_torch(path, weights):
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in weights.items()}}, path)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_every_weight_is_taken_over(trained, tmp_path, name):
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else lambda weights, file: saved_by_torch(file, weights))(trained, path)
    found, weights, sentence = start(path, TEN)
    assert found.fresh == ()
    assert sentence == f"{name}: every weight of the classifier starts from it"
    assert all(torch.equal(value, trained[key]) for key, value in weights.items())


def test_the_last_layer_is_made_anew_for_other_classes_and_that_is_said(trained, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(trained, path)
    found, weights, sentence = start(path, THREE)
    fresh = build_classifier(ClassifierConfig(**NETWORK), THREE, seed=1).state_dict()
    assert [len(fresh[f"body.{name}"]) for name in found.fresh] == [3, 3]
    assert all(torch.equal(weights[f"body.{name}"], fresh[f"body.{name}"]) for name in found.fresh)
    others = [name for name in weights if name.removeprefix("body.") not in found.fresh]
    assert all(torch.equal(weights[name], trained[name]) for name in others)
    assert f"last layer ({', '.join(found.fresh)}): it is made anew, because the file has 10 classes" in sentence
    assert sentence.endswith("the images have 3")


def test_what_does_not_fit_is_named(trained, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(trained, path)
    with pytest.raises(BundleError, match=r"does not fit the architecture preact_resnet18: .*has the shape"):
        start(path, TEN, width=9)
    with pytest.raises(BundleError, match="does not fit the architecture mlp: missing"):
        start(path, TEN, architecture="mlp", width=None)
    path = tmp_path / "more.safetensors"
    save_file({**trained, "body.extra": torch.zeros(2)}, path)
    with pytest.raises(BundleError, match=r"unexpected body\.extra"):
        start(path, TEN)
    path = tmp_path / "other.pt"
    path.write_bytes(b"not a file of weights")
    with pytest.raises(BundleError, match="is no state dict that can be read safely"):
        start(path, TEN)
    config = ClassifierConfig(**NETWORK, start="gone.pt")
    with pytest.raises(UserError, match=r"gone\.pt, which the classifier starts from .* is not here"):
        start_classifier(build_classifier(config, TEN), config, TEN, {"gone.pt": "0" * 64})


def test_a_run_goes_on_bit_for_bit_and_trains_from_those_weights(trained, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(trained, path)
    rng = torch.Generator().manual_seed(0)
    split = Split(torch.rand(24, *SHAPE, generator=rng), torch.arange(24) % 3, THREE)
    data = Dataset("few", split, split, split, "")
    settings = {
        "trainable": "fgsm_retraining",
        "evaluation": {"epsilon": 0.1, "watch_images": 6, "rank_images": 6},
        "classifier": {**NETWORK, "start": path.name, "learning_rate": 1e-4},
        "batch_size": 8,
        "compute": 3.0,
        "report_every": 1.0,
        "code": {path.name: provide_weights(path)},
    }
    assert parse(settings).model_dump()["classifier"]["start"] == path.name
    whole, interrupted, restored = (registry.build(parse(settings), data) for _ in range(3))
    first = next(iter(trained))
    assert torch.equal(whole.classifier.state_dict()[first], trained[first])
    while not whole.done:
        whole.step()
    interrupted.step()
    checkpoint.save(tmp_path / "checkpoint", 1, interrupted.state())
    restored.restore(checkpoint.load_newest(tmp_path / "checkpoint"))
    while not restored.done:
        restored.step()
    for key, value in whole.classifier.state_dict().items():
        assert torch.equal(value, restored.classifier.state_dict()[key])
