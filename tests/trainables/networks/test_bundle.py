"""Bundles: the same accuracies from disk, and an error that names the folder for everything else."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainables.errors import BundleError, CheckpointError
from trainables.evaluation.accuracy import evaluate
from trainables.judging.saved import evaluate_classifier, load_classifier
from trainables.networks import bundle
from trainables.networks.bundle import CONFIGURATION, WEIGHTS, read_state_dict
from trainables.networks.classifiers import small_cnn
from trainables.storage import checkpoint
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
    """Return what an evaluation adds to a report."""
    return {name: value for name, value in report.items() if name not in ("classifier_loss", *COUNTS)}


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
        assert sorted(path.name for path in target.iterdir()) == sorted([CONFIGURATION, WEIGHTS])
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
    save_file({f"other.{name}": tensor for name, tensor in load_file(path).items()}, path)


def cut_weight(path):
    save_file({name: tensor[:1].clone() for name, tensor in load_file(path).items()}, path)


DAMAGES = {
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

    @pytest.mark.parametrize("change", [rename_weight, cut_weight])
    def test_weights_of_another_net(self, folder, change):
        change(folder / WEIGHTS)
        with pytest.raises(BundleError, match=f"{folder / WEIGHTS} does not fit the architecture mlp"):
            evaluate_bundle(folder, "test")

    def test_a_configuration_of_another_net(self, folder, finished):
        settings = {**finished[0], "classifier": {"architecture": "small_cnn"}}
        (folder / CONFIGURATION).write_text(json.dumps(settings))
        with pytest.raises(BundleError, match=f"{folder / WEIGHTS} does not fit the architecture small_cnn"):
            evaluate_bundle(folder, "test")

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(BundleError, match="nowhere is no bundle"):
            evaluate_bundle(tmp_path / "nowhere", "test")


class TestStateDict:
    @pytest.fixture
    def elsewhere(self):
        """A network as others write it: a plain sequence of layers."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return small_cnn().eval()

    @pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
    @pytest.mark.parametrize("architecture", [None, "small_cnn"])
    def test_of_another_author_is_the_same_net_here(self, elsewhere, tmp_path, name, architecture, digits):
        (save_file if name.endswith("safetensors") else torch.save)(elsewhere.state_dict(), tmp_path / name)
        images, _ = digits.test.batch(torch.arange(20))
        ours = read_state_dict(tmp_path / name, architecture)
        assert torch.equal(ours(images), elsewhere(images))

    def test_of_our_own(self, finished, tmp_path, digits):
        classifier = finished[1].classifier
        torch.save(classifier.state_dict(), tmp_path / "net.pt")
        images, _ = digits.test.batch(torch.arange(20))
        assert torch.equal(read_state_dict(tmp_path / "net.pt")(images), classifier(images))

    def test_that_does_not_fit_names_every_tensor(self, elsewhere, tmp_path):
        weights = elsewhere.state_dict()
        weights["extra.weight"] = weights.pop("7.bias")
        weights["5.weight"] = weights["5.weight"][:50]
        torch.save(weights, tmp_path / "net.pt")
        with pytest.raises(BundleError) as error:
            read_state_dict(tmp_path / "net.pt")
        assert str(error.value) == (
            f"{tmp_path / 'net.pt'} does not fit the architecture small_cnn: missing body.7.bias; "
            "unexpected body.extra.weight; body.5.weight has the shape (50, 1568) in place of (100, 1568)"
        )

    def test_of_an_architecture_that_is_not_the_one_asked_for(self, elsewhere, tmp_path):
        torch.save(elsewhere.state_dict(), tmp_path / "net.pt")
        with pytest.raises(BundleError, match="does not fit the architecture mlp: missing"):
            read_state_dict(tmp_path / "net.pt", "mlp")
        with pytest.raises(BundleError, match="there is no architecture 'vgg': small_cnn, madry_cnn, mlp"):
            read_state_dict(tmp_path / "net.pt", "vgg")

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    def test_what_cannot_be_read_safely_is_not_read(self, elsewhere, tmp_path, damage):
        path = tmp_path / "net.pt"
        torch.save(elsewhere.state_dict(), path)
        damage(path)
        with pytest.raises(BundleError, match=r"net\.pt"):
            read_state_dict(path)

    @pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.zeros(3)], ids=str)
    def test_what_is_no_state_dict(self, tmp_path, content):
        torch.save(content, tmp_path / "net.pt")
        with pytest.raises(BundleError, match="a mapping of names to tensors"):
            read_state_dict(tmp_path / "net.pt")
