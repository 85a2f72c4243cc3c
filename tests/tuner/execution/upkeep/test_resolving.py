"""Launches with images and code of one's own: what is found, what is kept, and what is refused before any training."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from search_spaces.configurations import baseline_configurations, configuration_for
from tests.support.cifar import write_unpacked
from tests.support.own_images import CLASSES, write_project
from tests.tuner.conftest import train_really
from trainables.config.plugins import user_code
from trainables.errors import DataError
from trainables.networks.bundle import read_bundle
from trainables.worker.context import RunTask, WorkerContext
from trainables.worker.trainable import RunTrainable
from tuner.errors import UserError
from tuner.execution.launch import LaunchOptions, new_sweep
from tuner.results.bundles.export import export_run
from tuner.results.terminal.comparison import comparison_table
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.snapshot import read_snapshot

CONSOLE = Console(quiet=True)
NN = "from torch import nn\ndef build(image_shape, num_classes):\n    "


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TUNER_DATA", raising=False)
    torch.set_num_threads(1)


@pytest.fixture
def space(tmp_path) -> Path:
    (tmp_path / "project").mkdir()
    return write_project(tmp_path / "project", num_images=90)


def launch(space, home, **options) -> SweepFolder:
    return new_sweep(str(space), home, CONSOLE, LaunchOptions(**options))


def forget() -> None:
    """Be a process that was given no code yet."""
    user_code._sources.clear()
    user_code._modules.clear()


ATTACK = "def shift(logits_fn, images, labels, epsilon):\n    return (images + epsilon).clamp(0, 1)\n"


def with_attack(space: Path) -> None:
    (space.parent / "attack.py").write_text(ATTACK)
    text = space.read_text().replace("{epsilon: 8/255}", "{epsilon: 8/255, attacks: [attack.py:shift]}")
    space.write_text(f"{text}objective: {{metric: own/shift}}\n")


def first_value(parameter):
    return getattr(parameter.domain, "low", None) or parameter.domain.values[0]


def with_start(space: Path) -> None:
    """Let the classifier start from weights of the same network for five classes."""
    module: dict = {}
    exec((space.parent / "net.py").read_text(), module)
    save_file(module["build"]((3, 20, 24), 5).state_dict(), space.parent / "five.safetensors")
    space.write_text(space.read_text().replace("    learning_rate:", "    start: five.safetensors\n    learning_rate:"))


def test_a_classifier_starts_from_a_file_which_the_sweep_keeps(space, tmp_path):
    with_start(space)
    assert "start: five.safetensors" in space.read_text()
    said = StringIO()
    sweep = new_sweep(str(space), tmp_path / "home", Console(file=said, width=300), LaunchOptions())
    assert "made anew, because the file has 5 classes and the images have 3" in said.getvalue()
    assert (
        set(sweep.space.code)
        == {"net.py", "five.safetensors"}
        == {path.name for path in (sweep.folder / "code").iterdir()}
    )
    assert sweep.read_provenance()["user_code"] == dict(sweep.space.code)
    shutil.rmtree(space.parent)
    forget()
    sweep = SweepFolder.open("shapes", home=tmp_path / "home")
    context = WorkerContext(
        sweep_folder=str(sweep.folder),
        sweep_id=sweep.id,
        code={name: source.decode() for name, source in sweep.read_code().items()},
    )
    settings = configuration_for(sweep.space, sweep.space.settings(first_value), 0)
    assert settings["classifier"]["start"] == "five.safetensors"
    worker = RunTrainable(
        RunTask("trial-0000", str(sweep.folder / "runs" / "trial-0000"), settings, context).to_config()
    )
    result = worker.step()
    assert "metrics" in result, result


def test_a_file_that_does_not_fit_is_refused_at_the_launch(space, tmp_path):
    with_start(space)
    save_file({"other": torch.zeros(3)}, space.parent / "five.safetensors")
    with pytest.raises(UserError, match=r"five.safetensors does not fit the architecture net.py:build: missing"):
        launch(space, tmp_path / "home")
    (space.parent / "five.safetensors").unlink()
    with pytest.raises(UserError, match=r"there is no file .*five.safetensors, which a classifier is to start from"):
        launch(space, tmp_path / "home")


def test_a_sweep_keeps_what_was_found_and_goes_on_without_the_originals(space, tmp_path, run):
    with_attack(space)
    sweep = launch(space, tmp_path / "home")
    content = sweep.space.dataset.content
    assert content.classes == CLASSES
    assert content.image_shape == (3, 20, 24)
    assert (content.train, content.validation, content.test) == (62, 14, 14)
    assert sweep.read_provenance()["dataset"]["sha256"] == content.sha256
    assert sweep.read_provenance()["user_code"] == dict(sweep.space.code)
    shutil.rmtree(space.parent)
    forget()
    sweep = SweepFolder.open("shapes", home=tmp_path / "home")
    sweep.provide_code()
    with sweep.lock():
        train_really(Ledger(sweep))
    home = ("--home", str(tmp_path / "home"))
    for command in (("compare", "shapes"), ("verify", "shapes"), ("status", "shapes")):
        code, printed = run(*command, *home)
        assert code == 0, printed
    record = read_snapshot(sweep).records[0]
    assert record.run.settings["code"] == dict(sweep.space.code)
    assert set(sweep.space.code) == {"net.py", "attack.py"}
    assert record.metrics["robust"] <= record.metrics["own/shift"] <= 1
    headings = [column.heading for column in comparison_table(read_snapshot(sweep)).columns]
    assert headings.index("PGD") < headings.index("own shift") < headings.index("robust")
    bundle = export_run(read_snapshot(sweep), tmp_path / "bundle")
    assert "| own shift |" in (bundle / "model_card.md").read_text()
    assert (bundle / "code" / "net.py").read_bytes() == (sweep.folder / "code" / "net.py").read_bytes()
    code, printed = run("evaluate", str(bundle), "--images", "10")
    assert code == 0, printed
    assert "own/shift" in printed
    assert json.loads((bundle / "configuration.json").read_text())["dataset"]["content"]["classes"] == list(CLASSES)


def test_a_worker_trains_with_what_the_driver_sends(space, tmp_path):
    sweep = launch(space, tmp_path / "home")
    code = {name: source.decode() for name, source in sweep.read_code().items()}
    settings = baseline_configurations(sweep.space)["standard"]
    forget()
    task = RunTask("standard", str(tmp_path / "run"), settings, WorkerContext(code=code))
    result = RunTrainable(task.to_config()).step()
    assert result["metrics"]["watch/clean"] > 0, result


def test_code_from_elsewhere_runs_only_when_its_user_says_so(space, tmp_path, monkeypatch, run):
    sweep = launch(space, tmp_path / "home")
    with sweep.lock():
        train_really(Ledger(sweep))
    bundle = export_run(read_snapshot(sweep), tmp_path / "bundle")
    forget()
    (tmp_path / "cache" / "trusted-code").unlink()
    with pytest.raises(UserError, match=r"needs code that you have not let run here \(net.py\).*tuner trust"):
        read_bundle(bundle)
    for arguments in (("evaluate", "shapes"), ("resume", "shapes", "--trials", "3")):
        code, printed = run(*arguments, "--home", str(tmp_path / "home"))
        assert code == 2, printed
        assert "tuner trust shapes" in printed
    assert run("trust", str(bundle))[0] == 0
    read_bundle(bundle)
    (bundle / "code" / "net.py").write_text("raise SystemExit")
    forget()
    with pytest.raises(UserError, match=r"net.py was changed"):
        read_bundle(bundle)


def test_the_space_of_a_sweep_can_be_launched_again(space, tmp_path):
    first = launch(space, tmp_path / "home")
    second = launch(first.folder / "space.yaml", tmp_path / "home", name="again")
    assert second.space.dataset == first.space.dataset
    assert second.space.code == first.space.code


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("net.py:build", "../net.py:build"), "does not lie beside the space"),
        (("net.py:build", "/tmp/net.py:build"), "does not lie beside the space"),
        (("net.py:build", "other.py:build"), "cannot read .*other.py"),
        (("net.py:build", "net.py:other"), r"net.py has no other \(it has: build\)"),
        (("net.py:build", "json.decoder:JSONDecoder"), "if it may run, say --trust"),
        (("./images", "./nothing"), "there is no folder or file .*nothing"),
        (("./images", "./net.py"), "neither a folder of images by class nor a file"),
        (("./images", "images"), "dataset.name: must be 'mnist', .* or the path of images of your own"),
        (("8/255", "8"), r"epsilon: must be less than or equal to 1, not 8: .* did you mean 8/255\?"),
        (("{name: ./images}", "{name: ./images, validation: 89}"), "validation takes 89 of"),
        (("{name: ./images}", "{name: ./images, test: 0}"), "dataset.test: must be greater than or equal to 1"),
        (("{name: ./images}", "{name: mnist, test: 10}"), "test and content are for images of your own"),
    ],
)
def test_what_cannot_be_launched_is_refused_before_a_folder_is_made(space, tmp_path, change, message):
    assert change[0] in space.read_text()
    space.write_text(space.read_text().replace(*change))
    with pytest.raises(UserError, match=message):
        launch(space, tmp_path / "home")
    assert not (tmp_path / "home" / "shapes").exists()


def test_a_bundle_says_which_package_it_needs(tmp_path, run):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    settings = {"trainable": "noise_training", "code": {"example-plugin 0.1.0": "0" * 64}}
    (bundle / "configuration.json").write_text(json.dumps(settings))
    code, printed = run("train", str(bundle))
    assert code == 2, printed
    assert "the package example-plugin 0.1.0 is not installed here: install it" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((".clamp(0, 1)", ""), r"own/shift returns pixels from .* clamp them to \[0, 1\]"),
        (("+ epsilon", "+ 2 * epsilon"), "own/shift goes .* away from an image, with an epsilon of 0.1"),
        (("shift", "other"), r"attack.py has no shift \(it has: other\)"),
        (("(images", "(images.half()"), "own/shift must return float32, not float16"),
        (("return ", "return 1 / 0 + "), "the attack attack.py:shift fails: ZeroDivisionError"),
        (("return ", "raise SystemExit\n    return "), "the attack attack.py:shift fails: SystemExit"),
        (("return ", "return labels, "), r"must return images of the shape \(3, 3, 20, 24\), not tuple"),
        (("return ", "logits_fn.train()\n    return "), "own/shift changes the network: leave its mode alone"),
        (("return ", "logits_fn(images).sum().backward()\n    return "), "own/shift changes the network"),
        (("return ", "images.zero_()\n    return "), "own/shift changes its images, their labels or"),
        (("images + epsilon", "images + epsilon * images.new_empty(1).uniform_()"), "own/shift is not deterministic"),
    ],
)
def test_attacks_that_measure_something_else_are_refused_by_name(space, tmp_path, change, message):
    with_attack(space)
    assert change[0] in ATTACK
    (space.parent / "attack.py").write_text(ATTACK.replace(*change))
    with pytest.raises(UserError, match=message):
        launch(space, tmp_path / "home")


def test_one_run_is_trained_with_images_and_code_of_ones_own(space, tmp_path, run, monkeypatch):
    with_attack(space)
    monkeypatch.chdir(space.parent)
    named = {"dataset": "name=./images", "classifier": "architecture=net.py:build"}
    named |= {"evaluation": 'attacks=["attack.py:shift"]'}
    options = [word for key, value in named.items() for word in ("--set", f"{key}.{value}")]
    words = ["train", "standard", *options, "--set", "compute=1", "--output"]
    code, printed = run(*words, str(tmp_path / "bundle"))
    assert code == 2, printed
    assert "net.py is code that does not lie beside a space's file" in " ".join(printed.split())
    code, printed = run(*words, str(tmp_path / "bundle"), "--trust")
    assert code == 0, printed
    forget()
    shutil.rmtree(space.parent / "images")
    code, printed = run("train", str(tmp_path / "bundle"), "--output", str(tmp_path / "again"))
    assert code == 0, printed
    assert sorted(path.name for path in (tmp_path / "again" / "code").iterdir()) == ["attack.py", "net.py"]
    assert run("verify", str(tmp_path / "again"))[0] == 0
    (tmp_path / "cache" / "trusted-code").unlink()
    code, printed = run("train", str(tmp_path / "again"), "--output", str(tmp_path / "third"))
    assert code == 2, printed
    assert "tuner trust" in printed


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build(image_shape, num_classes):\n    return 3\n", "must return a torch.nn.Module"),
        (
            "from torch import nn\ndef build(s, n):\n    return nn.Sequential(nn.Flatten(), nn.Linear(1440, 7))\n",
            r"\(3, 7\)",
        ),
        ("from torch import nn\ndef build(s, n):\n    return nn.Linear(3, 3).half()\n", "weights in float16"),
        ("import not_installed\n", r"net.py cannot be run \(line 1\)"),
    ],
)
def test_networks_that_cannot_be_trained_are_refused_by_name(space, tmp_path, source, message):
    (space.parent / "net.py").write_text(source)
    with pytest.raises(UserError, match=message):
        launch(space, tmp_path / "home")


def test_images_that_cannot_be_used_are_refused_by_name(space, tmp_path):
    (space.parent / "images" / "circles" / "odd.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"odd.png is no image"):
        launch(space, tmp_path / "home")


def test_with_trust_code_may_lie_anywhere(space, tmp_path):
    (space.parent / "net.py").rename(tmp_path / "net.py")
    space.write_text(space.read_text().replace("net.py:build", "../net.py:build"))
    sweep = launch(space, tmp_path / "home", trust=True)
    assert (sweep.folder / "code" / "net.py").is_file()
    sweep.provide_code()


def test_a_function_can_return_the_images(space, tmp_path):
    (space.parent / "data.py").write_text(
        "import numpy as np\n\n\ndef load():\n    labels = np.arange(60) % 3\n"
        "    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)\n"
        "    return {'images': images, 'labels': labels, 'classes': np.array(['a', 'b', 'c'])}\n"
    )
    space.write_text(space.read_text().replace("./images", "data.py:load"))
    sweep = launch(space, tmp_path / "home")
    assert sweep.space.dataset.content.image_shape == (1, 8, 8)
    assert set(sweep.space.code) == {"net.py", "data.py"}


def test_targets_must_be_classes(space, tmp_path):
    text = (
        space.read_text()
        .replace("fgsm_random_start", "gan")
        .replace("batch_size: 16", "generator: {goal: targeted, target: 3}")
    )
    space.write_text(text)
    with pytest.raises(UserError, match=r"generator.target \(3\) must be below 3"):
        launch(space, tmp_path / "home")


CIFAR_SPACE = """
name: cifar
trainable: standard
dataset: {name: cifar10}
evaluation: {epsilon: 8/255, watch_images: 4, rank_images: 4}
budget: {trials: 1, compute: 1}
search: {sampler: random, pruner: none}
parameters: {classifier: {learning_rate: {float: [0.001, 0.01]}}}
"""


def test_unpacked_files_of_cifar_are_taken_and_said_not_to_be_the_official_ones(tmp_path):
    files = write_unpacked(tmp_path / "data" / "cifar10")
    path = tmp_path / "cifar.yaml"
    path.write_text(CIFAR_SPACE)
    console = Console(file=StringIO(), width=80)
    sweep = new_sweep(str(path), tmp_path / "home", console, LaunchOptions(data=files.parent))
    assert "not known to be the official cifar10" in " ".join(console.file.getvalue().split())
    dataset = sweep.space.dataset
    assert dataset.content is not None
    assert (dataset.content.train + dataset.content.validation, dataset.content.test) == (150, 30)
    assert dataset.validation == dataset.content.validation < 40
    again = tmp_path / "again.yaml"
    again.write_text((sweep.folder / "space.yaml").read_text().replace("name: cifar\n", "name: again\n"))
    assert launch(again, tmp_path / "home").space.dataset.content == dataset.content
