"""The Python API without Ray: what is read, and what is refused in words."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

import tuner
from search_spaces.errors import SpaceError
from tests.tuner.conftest import SPACE, train_all
from tuner import Sweep
from tuner.errors import SweepError, UserError
from tuner.execution.driver import Ending
from tuner.execution.launch import LaunchOptions, new_sweep
from tuner.search.ledger import Ledger


def test_a_sweep_is_opened_read_and_exported(trained_sweep, tmp_path):
    sweep = Sweep.open("real", home=str(tmp_path))
    assert (sweep.name, sweep.folder) == ("real", tmp_path / "real")
    table = sweep.trials()
    assert list(table["kind"]) == ["trial"] * 2 + ["baseline"] * 2
    assert sweep.best.value == table[table["kind"] == "trial"]["value"].max()
    assert {record.value for record in sweep.front} == {sweep.best.value}
    assert sweep.status().state == "completed"
    bundle = sweep.export(output=tmp_path / "bundle")
    assert json.loads((bundle / "provenance.json").read_text())["run"] == sweep.best.run.key
    assert sweep.export("standard", output=tmp_path / "standard").name == "standard"
    numbered = sweep.export(1, output=tmp_path / "numbered")
    assert json.loads((numbered / "provenance.json").read_text())["run"] == "trial-0001"
    assert not sweep.load(1).training
    with pytest.raises(UserError, match=r"s3://b/x is a URL"):
        sweep.export(output="s3://b/x")
    with pytest.raises(UserError, match="is there already"):
        sweep.export(output=tmp_path / "bundle")


def test_nothing_has_a_best_trial_yet(make_sweep, tmp_path):
    make_sweep()
    sweep = Sweep.open("tiny", home=tmp_path)
    assert sweep.best is None
    assert (sweep.front, len(sweep.trials())) == ([], 0)
    assert sweep.watch().state == "interrupted"


def test_what_the_command_line_refuses_is_refused(make_sweep, tmp_path):
    train_all(Ledger(make_sweep()))
    sweep = Sweep.open("tiny", home=tmp_path)
    for ask in (sweep.stop, sweep.pause):
        with pytest.raises(UserError, match="no driver is at work on 'tiny'"):
            ask()
    with pytest.raises(UserError, match="must not be below the sweep's 4"):
        sweep.resume(trials=3)
    with pytest.raises(UserError, match="no sweep named 'other'"):
        Sweep.open("other", home=tmp_path)
    with pytest.raises(UserError, match="`tuner resume tiny`"):
        Sweep.launch("digits", name="tiny", home=tmp_path)
    with pytest.raises(UserError, match="trials must be at least 1, got 0"):
        Sweep.launch("digits", trials=0, home=tmp_path)
    with pytest.raises(SpaceError, match="neither a file nor a packaged"):
        Sweep.launch("digit", home=tmp_path)
    with pytest.raises(SpaceError, match="did you mean 'budget'"):
        Sweep.launch({"name": "a", "trainable": "gan", "budgit": {"trials": 1, "compute": 1}}, home=tmp_path)
    with pytest.raises(UserError, match="made of mappings, lists, text and numbers"):
        Sweep.launch({"name": object()}, home=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny"]


def test_every_mistake_in_a_launch_is_a_user_error(tmp_path):
    mistakes = {
        "did you mean 'digits'": {"space": "digitz"},
        "did you mean 'budget'": {"space": {"name": "a", "trainable": "gan", "budgit": {"trials": 1, "compute": 1}}},
        "--study-storage must be": {"space": "digits", "study_storage": "sqlite:///nowhere"},
        "lacks|is missing|is no folder": {"space": "quick", "data": tmp_path / "none"},
        "no sweep named 'earlier'": {"space": "digits", "warm_start": ["earlier"]},
        "no sweep named 'alone'": {"space": "digits", "warm_start": "alone"},
        "max_concurrent must be at least 1": {"space": "digits", "max_concurrent": 0},
    }
    for expected, options in mistakes.items():
        with pytest.raises(tuner.UserError, match=expected):
            Sweep.launch(**options, home=tmp_path / "home")


def test_a_space_is_a_name_a_path_or_its_content(tmp_path):
    from rich.console import Console

    content = {
        "name": "written",
        "trainable": "standard",
        "dataset": {"name": "digits", "validation": 200},
        "budget": {"trials": 2, "compute": 1.5},
        "parameters": {"classifier": {"learning_rate": {"float": [1e-05, 1e-2], "log": True}}},
    }
    path = tmp_path / "digits"  # a packaged space's name, but a path means a file
    path.write_text(SPACE)
    console = Console(quiet=True)
    by_content = new_sweep(content, tmp_path / "home", console, LaunchOptions())
    assert (by_content.name, by_content.num_trials) == ("written", 2)
    assert by_content.space.parameters[0].domain.low == 1e-5
    assert new_sweep(path, tmp_path / "home", console, LaunchOptions(trials=9)).num_trials == 9
    assert new_sweep(content, tmp_path / "home", console, LaunchOptions()).name == "written-2"
    assert Sweep.open("written", home=tmp_path / "home").name == "written"


def test_importing_it_loads_nothing_heavy_until_it_is_used():
    check = (
        "import sys, tuner\n"
        "assert not {'torch', 'ray', 'optuna', 'mlflow', 'pandas'} & set(sys.modules)\n"
        "from tuner import Sweep\n"
        "assert not {'torch', 'ray', 'mlflow'} & set(sys.modules), 'reading needs none of these'\n"
        "try: tuner.nothing\n"
        "except AttributeError as error: assert 'nothing' in str(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_matters_comes_first_and_is_one_call_away(trained_sweep, tmp_path):
    import torch

    assert Sweep.list(tmp_path) == ["real"]
    assert Sweep.list(tmp_path / "none") == []
    sweep = Sweep.open("real", home=tmp_path)
    table = sweep.trials()
    assert list(table.columns)[:5] == ["run", "kind", "state", "robust", "settings.ratio.generator_turns"]
    assert sweep.best_params == {"ratio.generator_turns": sweep.best.run.settings["ratio"]["generator_turns"]}
    curves = sweep.curves()
    assert list(curves.columns)[:3] == ["run", "step", "compute"]
    last = curves.groupby("run")["robust"].last()
    assert last[sweep.best.run.key] == sweep.best.value
    assert any("against fgsm_retraining" in sentence for sentence in sweep.compare())
    for run in (None, "standard"):
        classifier = sweep.load(run)
        assert not classifier.training
        assert classifier(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert repr(sweep).startswith("<Sweep 'real': completed, ")
    assert f"best {sweep.best.run.key}: robust {sweep.best.value:.3f}>" in repr(sweep)


def test_a_notebook_shows_its_table(trained_sweep, tmp_path):
    from html.parser import HTMLParser

    page = Sweep.open("real", home=tmp_path)._repr_html_()
    seen = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: seen.append(tag)
    parser.feed(page)
    assert seen.count("tr") == 5
    assert "script" not in seen
    assert "Best: trial-000" in page


def test_a_sweep_without_runs_has_tables_too(make_sweep, tmp_path):
    make_sweep()
    sweep = Sweep.open("tiny", home=tmp_path)
    assert (sweep.best_params, len(sweep.curves())) == ({}, 0)
    assert "no best trial" in repr(sweep)
    assert sweep._repr_html_().startswith("<div>")
    assert sweep.compare()


def test_the_release_has_a_number():
    assert tuner.__version__.count(".") == 2


@pytest.mark.parametrize(
    ("ending", "error", "message"),
    [
        (Ending(signal=signal.SIGTERM, mirrored=True), SystemExit, "143"),
        (
            Ending(failure="the disk is full", mirrored=True),
            SweepError,
            r"full; put that right, then `Sweep.open\('tiny', home='/.*'\).resume",
        ),
        (Ending(signal=signal.SIGINT), KeyboardInterrupt, "tiny is interrupted"),
    ],
)
def test_a_script_does_not_go_on_after_a_drive_that_did_not_end_well(make_sweep, monkeypatch, ending, error, message):
    monkeypatch.setattr("tuner.execution.search.search", lambda *_, **__: ending)
    sweep = Sweep(make_sweep())
    with pytest.raises(error, match=message):
        sweep.resume()
    assert sweep.ending == ending


def test_a_stop_that_was_asked_for_ends_a_drive_as_usual(make_sweep, monkeypatch, capsys):
    monkeypatch.setattr("tuner.execution.search.search", lambda *_, **__: Ending(stopped=True))
    sweep = make_sweep()
    assert Sweep(sweep, quiet=False).resume().ending.stopped
    said = " ".join(capsys.readouterr().out.split())
    assert "`tuner sync tiny` brings it there" in said
    assert "Stopped on request; `Sweep.open('tiny', home='" in said
