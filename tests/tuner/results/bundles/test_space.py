"""A search that goes on from an exported run: by the space in its bundle, or by a space that names the bundle."""

from __future__ import annotations

import json
import shutil

import pytest
from rich.console import Console

from search_spaces.configurations import configuration_for
from trainables.networks.bundle import read_bundle
from tuner import Sweep
from tuner.errors import UserError
from tuner.execution.launch import LaunchOptions, new_sweep
from tuner.results.bundles.space import SPACE
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder


def first_settings(sweep: SweepFolder) -> dict:
    """Return the settings of the first trial of a sweep, without its seed."""
    runs = Ledger(sweep)
    trial = next(run for run in iter(runs.next_run, None) if run.kind == "trial")
    return {key: value for key, value in trial.settings.items() if key != "seed"}


def launch(space: str, home) -> SweepFolder:
    return new_sweep(space, home, Console(quiet=True), LaunchOptions())


@pytest.mark.parametrize("run", ["0", "1"])
def test_a_launch_from_it_begins_with_the_same_configuration_and_its_export_too(trained_sweep, tmp_path, run):
    bundle = Sweep.open("real", home=tmp_path).export(run, output=tmp_path / "best", as_space=True)
    wanted = json.loads((bundle / "configuration.json").read_text())
    del wanted["seed"]
    again = launch(str(bundle / SPACE), tmp_path / "home")
    shutil.rmtree(bundle)
    assert first_settings(again) == wanted
    assert SweepFolder.open(again.name, home=tmp_path / "home").space == again.space
    assert again.space.baselines == trained_sweep.space.baselines
    relaunched = launch(str(again.folder / SPACE), tmp_path / "other")  # with the bundles that the first launch kept
    assert first_settings(relaunched) == wanted


def test_other_spaces_begin_with_it_and_compare_with_it(trained_sweep, tmp_path):
    bundle = Sweep.open("real", home=tmp_path).export("1", output=tmp_path / "best")
    wanted = read_bundle(bundle)[0].model_dump(mode="json", exclude={"seed"})
    space = tmp_path / "next.yaml"
    text = (trained_sweep.folder / SPACE).read_text().replace("name: real", "name: next")
    space.write_text(text + "first: [{bundle: best}]\n")
    assert first_settings(launch(str(space), tmp_path / "home")) == wanted
    space.write_text(text.replace("[standard, fgsm_retraining]", "[{bundle: best}]"))
    (baseline,) = launch(str(space), tmp_path / "other").space.baselines
    assert configuration_for(trained_sweep.space, baseline.settings, 3) == {**wanted, "seed": 3}


def test_only_a_search_begins_somewhere(trained_sweep, tmp_path):
    sweep = Sweep.open("real", home=tmp_path)
    with pytest.raises(UserError, match="baseline-standard is a baseline"):
        sweep.export("standard", output=tmp_path / "best", as_space=True)
    assert not (tmp_path / "best").exists()


def test_several_trials_are_exported_best_first_or_none(trained_sweep, tmp_path, run):
    sweep = Sweep.open("real", home=tmp_path)
    folders = sweep.export_top(5, output=tmp_path / "all")
    assert sorted(folder.name for folder in folders) == ["real-trial-0000", "real-trial-0001"]
    values = [json.loads((folder / "metrics.json").read_text())["metrics"]["robust"] for folder in folders]
    assert values == sorted(values, reverse=True)
    shutil.rmtree(folders[0])
    with pytest.raises(UserError, match="is there already"):
        sweep.export_top(5, output=tmp_path / "all")
    assert not folders[0].exists()
    code, out = run("export", "real", "--home", str(tmp_path), "--top", "1", "-o", "one")
    assert (code, out.strip()) == (0, str(tmp_path / "one" / folders[0].name)), out
    for words, message in [
        (("--front",), "has one objective, and so no front"),
        (("--top", "2", "--run", "1"), "give one of them"),
    ]:
        code, out = run("export", "real", "--home", str(tmp_path), *words)
        assert code == 2
        assert message in out.replace("\n", " ")
