"""What CONTRIBUTING shows works: a metric, a recipe and a command; its attack has a file of its own."""

from __future__ import annotations

from typing import Literal
from unittest.mock import patch

import pytest
import torch
import typer
from pydantic import Field
from typer.testing import CliRunner

from tests.support.contributing import TEXT, example, run_example
from tests.support.loops import finish
from tests.tuner.conftest import SPACE
from trainables.attacks.losses import cross_entropy
from trainables.config import CONFIGURATIONS, TrainingConfig, parse
from trainables.data.tensors import load
from trainables.evaluation import metrics
from trainables.evaluation.metrics import Metric
from trainables.training.loop import TrainingLoop
from trainables.training.registry import LOOPS, build
from tuner.cli import monitor
from tuner.cli.app import ON_CLUSTERS, app
from tuner.cli.options import Home, SweepName
from tuner.cli.shell.help import PAGES
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home


def test_it_fits_one_screen():
    assert len(TEXT.splitlines()) <= 90


def test_a_row_is_a_metric(monkeypatch):
    assert "gradient_norm" not in metrics.all_metrics()
    row = eval(example("metric"), {"Metric": Metric})
    monkeypatch.setattr(metrics, "_OTHERS", (*metrics._OTHERS, row))
    assert metrics.metric_named("gradient_norm") == row
    monkeypatch.setattr(metrics, "_OTHERS", (*metrics._OTHERS, row))
    with pytest.raises(ValueError, match="names of metrics must be unique: 'gradient_norm'"):
        metrics.all_metrics()


def test_a_recipe_trains():
    names = {"Field": Field, "Literal": Literal, "TrainingConfig": TrainingConfig, "TrainingLoop": TrainingLoop}
    tables = {"CONFIGURATIONS": CONFIGURATIONS, "LOOPS": LOOPS}
    settings = {"trainable": "noise_training", "dataset": {"name": "digits", "validation": 200}, "compute": 1.0}
    settings |= {"classifier": {"architecture": "mlp"}, "evaluation": {"watch_images": 20, "rank_images": 30}}
    with patch.dict(CONFIGURATIONS._set), patch.dict(LOOPS._set):
        run_example("A recipe", torch=torch, cross_entropy=cross_entropy, **names, **tables)
        config = parse({**settings, "deviation": 0.2})
        reports = finish(build(config, load("digits", validation=200)))
    assert config.deviation == 0.2
    assert reports[-1]["compute"] == pytest.approx(1.0, abs=0.1)
    assert reports[-1]["clean"] > 0.5


def test_a_command_runs(tmp_path, monkeypatch):
    names = {"SweepName": SweepName, "Home": Home, "SweepFolder": SweepFolder, "home": home}
    with patch.dict(ON_CLUSTERS), patch.dict(PAGES):
        made = run_example("A command", typer=typer, ON_CLUSTERS=ON_CLUSTERS, PAGES=PAGES, **names)
        monkeypatch.setattr(monitor, "runs", made["runs"], raising=False)
        SweepFolder.create("tiny", SPACE, "tiny.yaml", home=tmp_path)
        shown = CliRunner().invoke(app, ["runs", "tiny", "--home", str(tmp_path)], catch_exceptions=False)
        assert shown.output == "6 runs\n"
        page = CliRunner().invoke(app, ["runs", "--help"]).output
    assert "--cluster" in page
    assert "tuner runs first" in page
