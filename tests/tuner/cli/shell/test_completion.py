"""What Tab offers, asked as bash asks: by environment variables and the words of the line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.plugins import example_package, installed
from tests.tuner.conftest import train_all
from tuner.search.ledger import Ledger


@pytest.fixture
def complete(run, monkeypatch):
    """Return a function that returns what is offered for the last word of a line."""

    def complete(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_TUNER_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        return [word.rsplit(",", 1)[-1] for word in run()[1].split()]

    return complete


@pytest.fixture
def home(make_sweep, monkeypatch, tmp_path):
    train_all(Ledger(make_sweep()))
    make_sweep("other")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tuner comp", ["compare"]),
        ("tuner spaces ", ["list", "check", "plan", "schema", "show"]),
        ("tuner launch qu", ["quick"]),
        ("tuner launch mi", ["mine.yaml"]),
        ("tuner launch quick --set budget.tr", ["budget.trials=", "budget.trial_timeout="]),
        ("tuner launch quick --set generator.wi", ["generator.width="]),
        ("tuner train wo", ["wong_2020"]),
        ("tuner train gan --set generator.wi", ["generator.width="]),
        ("tuner data dig", ["digits"]),
        ("tuner compare tiny --format pa", ["parquet"]),
        ("tuner compare --home nowhere ", []),
        ("tuner show nowhere ", []),
        ("tuner launch nowhere --set x", []),
    ],
)
def test_without_sweeps(complete, tmp_path, line, offered):
    (tmp_path / "mine.yaml").write_text("")
    assert sorted(complete(line)) == sorted(offered)


def test_what_installed_packages_add(complete, tmp_path):
    with installed(example_package(tmp_path)):
        assert complete("tuner launch bar") == ["bars_noise"]
        assert complete("tuner launch bars_noise --set devia") == ["deviation="]
        assert complete("tuner train noise") == ["noise_training"]


def test_sweeps_and_their_runs(complete, home, monkeypatch):
    assert complete(f"tuner compare --home {home} ") == ["other", "tiny"]
    assert complete(f"tuner compare --home {home} tiny o") == ["other"]
    monkeypatch.setenv("TUNER_HOME", str(home))
    assert complete("tuner resume t") == ["tiny"]
    assert complete("tuner show tiny ") == ["0", "1", "2", "3", "fgsm_retraining", "standard"]
    assert complete("tuner logs tiny sta") == ["standard"]
    assert complete("tuner show other ") == []
    assert complete("tuner export tiny --run 3") == ["3"]


@pytest.mark.parametrize("line", ["tuner comp", "tuner spaces sh", "tuner launch gan --set generator.wi", "tuner ui "])
def test_what_is_slow_to_load_is_not_loaded(line, tmp_path):
    asked = "print(*({'pydantic', 'optuna', 'ray', 'torch', 'mlflow'} & set(sys.modules)), file=sys.stderr)"
    code = f"import atexit, sys; atexit.register(lambda: {asked}); sys.argv = ['tuner']"
    variables = {"_TUNER_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    completed = subprocess.run(
        [sys.executable, "-c", f"{code}; from tuner.cli.app import main; main()"],
        env={**os.environ, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stderr.strip() == ""
