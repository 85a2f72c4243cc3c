"""A bundle says what it is, is loaded with torch alone, and no file of it can be changed without notice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import trainables
import trainables.config
from trainables.data.tensors import load_dataset
from trainables.networks.bundle import read_bundle
from trainables.networks.program import write_program
from trainables.storage.bundle_files import write_checksums
from tuner import Sweep
from tuner.results.bundles.check import verify_bundle

FILES = {
    "checksums.json",
    "classifier.safetensors",
    "configuration.json",
    "metrics.json",
    "model.pt2",
    "model_card.md",
    "provenance.json",
}
WITHOUT = "import sys\nfor name in {names}: sys.modules[name] = None\n"
PLAIN_TORCH = """\
import numpy, sys, torch
folder, images = sys.argv[1:]
data = numpy.load(images)
classifier = torch.export.load(folder + "/model.pt2").module()
with torch.no_grad():
    predicted = classifier(torch.from_numpy(data["images"])).argmax(1)
print(float((predicted == torch.from_numpy(data["labels"])).double().mean()))
"""


@pytest.fixture(scope="module")
def validation():
    config = trainables.config.parse(
        {"trainable": "standard", "dataset": {"name": "digits", "validation": 200}}
    ).dataset
    return load_dataset(config).validation.head(30).batch(torch.arange(30))


def python(program, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_has_these_files_and_a_card_with_its_numbers(bundle):
    assert {path.name for path in bundle.iterdir()} == FILES
    card = (bundle / "model_card.md").read_text()
    clean = json.loads((bundle / "metrics.json").read_text())["metrics"]["clean"]
    assert f"| clean | {100 * clean:.1f} | " in card
    assert "at most 0.2 in every pixel" in card
    assert "chosen and measured on the same images" in card


def test_it_is_loaded_by_one_call_and_by_torch_alone(bundle, validation, tmp_path):
    images, labels = validation
    classifier = trainables.load(bundle)
    assert not classifier.training
    recorded = json.loads((bundle / "metrics.json").read_text())["metrics"]["clean"]
    with torch.no_grad():
        assert float((classifier(images).argmax(1) == labels).double().mean()) == pytest.approx(recorded, abs=1e-7)
    np.savez(tmp_path / "images.npz", images=images.numpy(), labels=labels.numpy())
    without_ours = WITHOUT.format(names=("trainables", "tuner", "search_spaces"))
    done = python(without_ours + PLAIN_TORCH, bundle, tmp_path / "images.npz")
    assert float(done.stdout) == pytest.approx(recorded, abs=1e-7), done.stderr


def test_it_is_verified_without_ray_optuna_and_mlflow(bundle):
    program = WITHOUT.format(names=("ray", "optuna", "mlflow"))
    program += "from tuner.cli.app import main\nsys.argv = ['tuner', 'verify', sys.argv[1]]\nmain()\n"
    done = python(program, bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert "every recorded number holds" in " ".join(done.stdout.split())


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_was_changed_or_is_missing_is_named(bundle, tmp_path, name):
    for change in (_flip, _append, Path.unlink):
        changed = tmp_path / change.__name__
        shutil.copytree(bundle, changed)
        change(changed / name)
        (problem,) = verify_bundle(changed)
        assert name in problem


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _append(path):
    path.write_bytes(path.read_bytes() + b" ")


def test_a_number_that_does_not_hold_is_told_though_its_checksum_fits(bundle):
    content = json.loads((bundle / "metrics.json").read_text())
    content["metrics"]["clean"] += 0.1
    (bundle / "metrics.json").write_text(json.dumps(content))
    write_checksums(bundle, "metrics.json")
    (problem,) = verify_bundle(bundle)
    assert "metrics.json says clean" in problem


def test_a_program_of_other_weights_is_told(bundle):
    config, classifier = read_bundle(bundle)
    with torch.no_grad():
        next(classifier.parameters()).add_(0.1)
    write_program(bundle / "model.pt2", classifier, config.dataset.task)
    write_checksums(bundle, "model.pt2")
    (problem,) = verify_bundle(bundle)
    assert "model.pt2 is not the classifier of the weights" in problem


class Unexportable(torch.nn.Module):
    """Its code depends on the values of the images."""

    def forward(self, images):
        return images.flatten(1)[:, :10] * (2 if float(images.sum()) > 3 else 1)


def test_a_network_that_torch_cannot_export_has_no_program_and_the_card_says_so(trained_sweep, tmp_path, monkeypatch):
    from trainables.networks import bundle as bundles

    whole = bundles.read_bundle
    monkeypatch.setattr(bundles, "read_bundle", lambda folder: (whole(folder)[0], Unexportable()))
    folder = Sweep.open("real", home=tmp_path).export(output=tmp_path / "best")
    assert {path.name for path in folder.iterdir()} == FILES - {"model.pt2"}
    card = (folder / "model_card.md").read_text()
    assert "There is no `model.pt2` for torch alone: torch.export cannot export the network" in card
