"""Bundles: the same accuracies from disk, and an error that names the folder for everything else."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainables.errors import BundleError, CheckpointError, UserError
from trainables.evaluation.accuracy import evaluate
from trainables.judging.saved import evaluate_classifier, load_classifier
from trainables.networks import bundle
from trainables.storage import checkpoint
from trainables.storage.bundle_files import CHECKSUMS, CONFIGURATION, WEIGHTS
from trainables.storage.checkpoint import RunCheckpoint
from trainables.training import registry

COUNTS = ("step", "compute", "train_s", "evaluation_s")


@pytest.fixture(scope="module")
def finished(settings_of, config_of, digits):
    """A finished run: its settings, its loop and its last report."""
    loop = registry.build(config_of("standard", compute=1.0, report_every=1.0), digits)
    report = loop.step()
    return settings_of("standard", compute=1.0, report_every=1.0), loop, report


@pytest.fixture
def folder(finished, tmp_path):
    settings, loop, _ = finished
    bundle.write_classifier(tmp_path, settings, loop.classifier.state_dict())
    return tmp_path


def evaluate_bundle(folder, split, **options):
    return evaluate_classifier(load_classifier(folder), split, **options)["metrics"]


def measured_in(report):
    """Return what the evaluation at the end adds to a report."""
    others = ("classifier_loss", *COUNTS)
    return {name: value for name, value in report.items() if name not in others and not name.startswith("watch/")}


class TestRoundTrip:
    def test_the_ranking_of_the_run_to_the_last_digit(self, folder, finished):
        assert evaluate_bundle(folder, "validation") == measured_in(finished[2])

    def test_all_test_images(self, folder, finished, digits):
        _, loop, _ = finished
        expected = evaluate(loop.classifier, digits.test, epsilon=0.1, tier="rank", seed=loop.config.seed)
        assert evaluate_bundle(folder, "test") == expected

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_the_first_images_only(self, folder, finished, digits, split):
        _, loop, _ = finished
        images = getattr(digits, split).head(17)
        expected = evaluate(loop.classifier, images, epsilon=0.1, tier="rank", seed=loop.config.seed)
        assert evaluate_bundle(folder, split, num_images=17) == expected

    def test_the_number_of_threads_is_set(self, folder, monkeypatch):
        asked = []
        monkeypatch.setattr(torch, "set_num_threads", asked.append)
        evaluate_bundle(folder, "test", num_images=5, num_threads=7)
        assert asked == [7]

    def test_the_last_checkpoint_of_a_run(self, finished, tmp_path):
        settings, loop, report = finished
        older = registry.build(loop.config, loop.dataset)
        checkpoint.save(tmp_path / "checkpoint", 1, {"loop": older.state(), "metrics": {}})
        checkpoint.save(tmp_path / "checkpoint", 2, {"loop": loop.state(), "metrics": report})
        target = tmp_path / "bundle"
        target.mkdir()
        bundle.write_from_checkpoint(target, settings, RunCheckpoint(tmp_path / "checkpoint", 2))
        assert evaluate_bundle(target, "validation") == measured_in(report)
        assert sorted(path.name for path in target.iterdir()) == sorted([CONFIGURATION, WEIGHTS, CHECKSUMS])
        assert json.loads((target / CONFIGURATION).read_text()) == settings

    def test_without_a_checkpoint_nothing_is_written(self, finished, tmp_path):
        target = tmp_path / "bundle"
        target.mkdir()
        with pytest.raises(CheckpointError, match=str(tmp_path / "missing")):
            bundle.write_from_checkpoint(target, finished[0], RunCheckpoint(tmp_path / "missing", 2))
        assert list(target.iterdir()) == []


class Bomb:
    """What no bundle may ever unpickle."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def rename_weight(path):
    tensors = load_file(path)
    tensors["body.other.weight"] = tensors.pop("body.3.weight")
    save_file(tensors, path)


def cut_weight(path):
    save_file({name: tensor[:1].clone() for name, tensor in load_file(path).items()}, path)


def fill_with_nan(path):
    tensors = load_file(path)
    tensors["body.3.weight"][2, 5] = torch.nan
    save_file(tensors, path)


def forget_checksums(folder):
    """Make it a bundle of an earlier release, which has none."""
    (folder / CHECKSUMS).unlink()


def become_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def become_a_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def grow(path):
    with path.open("r+b") as file:
        file.truncate(10**12)  # a hole: it takes no room


DAMAGES = {
    "pipe": become_a_pipe,
    "endless device": become_a_device,
    "a terabyte": grow,
    "deep": lambda path: path.write_text("[" * 100_000),
    "a header of a gigabyte": lambda path: path.write_bytes((10**9).to_bytes(8, "little") + b"{}"),
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Bomb())),
    "torch file": lambda path: torch.save(Bomb(), path),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    @pytest.mark.parametrize("name", [CONFIGURATION, WEIGHTS])
    def test_a_damaged_file_is_an_error_that_names_the_folder(self, folder, name, damage):
        damage(folder / name)
        with pytest.raises(BundleError) as error:
            evaluate_bundle(folder, "test")
        assert str(folder) in str(error.value)

    @pytest.mark.parametrize("content", ["[1]", "{}", '{"trainable": "alchemy"}', '{"trainable": "gan", "epochs": 3}'])
    def test_a_configuration_that_is_none(self, folder, content):
        (folder / CONFIGURATION).write_text(content)
        with pytest.raises(BundleError) as error:
            evaluate_bundle(folder, "test")
        assert str(folder) in str(error.value)

    @pytest.mark.parametrize("change", [rename_weight, cut_weight, fill_with_nan])
    def test_changed_weights_are_noticed(self, folder, change):
        change(folder / WEIGHTS)
        with pytest.raises(BundleError, match=f"{folder / WEIGHTS} was changed after it was written"):
            evaluate_bundle(folder, "test")

    def test_weights_of_another_run_are_noticed(self, folder, finished, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        weights = {name: tensor + 0.01 for name, tensor in finished[1].classifier.state_dict().items()}
        bundle.write_classifier(other, finished[0], weights)
        (other / WEIGHTS).replace(folder / WEIGHTS)
        with pytest.raises(BundleError, match="was changed after it was written"):
            evaluate_bundle(folder, "test")

    def test_a_changed_configuration_is_noticed(self, folder, finished):
        (folder / CONFIGURATION).write_text(json.dumps({**finished[0], "seed": 77}))
        with pytest.raises(BundleError, match=f"{folder / CONFIGURATION} was changed"):
            evaluate_bundle(folder, "test")

    def test_weights_that_are_not_finite_are_named(self, folder, finished):
        fill_with_nan(folder / WEIGHTS)
        forget_checksums(folder)
        with pytest.raises(BundleError, match=r"1 of the 65,536 values of body\.3\.weight are NaN"):
            evaluate_bundle(folder, "test")
        with pytest.raises(BundleError, match=r"body\.3\.weight are NaN"):
            bundle.write_classifier(folder, finished[0], load_file(folder / WEIGHTS))

    def test_options_of_a_state_dict_are_refused(self, folder):
        with pytest.raises(UserError, match="is a bundle, which says its dataset"):
            load_classifier(folder, dataset="mnist")

    @pytest.mark.parametrize("change", [rename_weight, cut_weight])
    def test_weights_of_another_net(self, folder, change):
        change(folder / WEIGHTS)
        forget_checksums(folder)
        with pytest.raises(BundleError, match=f"{folder / WEIGHTS} does not fit the architecture mlp"):
            evaluate_bundle(folder, "test")

    def test_a_configuration_of_another_net(self, folder, finished):
        settings = {**finished[0], "classifier": {"architecture": "small_cnn"}}
        (folder / CONFIGURATION).write_text(json.dumps(settings))
        forget_checksums(folder)
        with pytest.raises(BundleError, match=f"{folder / WEIGHTS} does not fit the architecture small_cnn"):
            evaluate_bundle(folder, "test")

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(BundleError, match=r"nowhere.* No such file"):
            evaluate_bundle(tmp_path / "nowhere", "test")
