"""Sweeps for the tests of the tuner: a small space, drivers that play Ray's part, and one sweep really trained."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainables.storage.atomic import write_json
from trainables.storage.sweep_store import SweepStore
from tuner.cli.app import main
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Run

SPACE = """\
name: tiny
description: a space for tests
trainable: gan
dataset: {name: digits, validation: 200}
evaluation: {watch_images: 50, rank_images: 100}
budget: {trials: 4, compute: 3}
search: {sampler: random, seed: 7}
baselines: [standard, fgsm_retraining]
parameters:
  generator:
    learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
  ratio:
    kind: {choice: [constant, adaptive]}
    generator_turns: {int: [1, 4], when: {kind: constant}}
"""
# The same as a grid of two points with two seeds.
SEEDED = (
    SPACE[SPACE.index("budget") :],
    """\
budget: {compute: 3}
search: {sampler: grid, seed: 7}
seeds: 2
baselines: [standard, fgsm_retraining]
parameters:
  ratio:
    kind: constant
    generator_turns: {choice: [1, 2]}
""",
)
STEPS = 3
REAL = """\
name: real
trainable: gan
dataset: {name: digits, validation: 200}
evaluation: {epsilon: 0.2, watch_images: 20, rank_images: 30}
budget: {trials: 2, compute: 1}
search: {sampler: random, seed: 3}
baselines: [standard, fgsm_retraining]
parameters:
  report_every: 0.5
  batch_size: 64
  pretrain: 0.25
  classifier: {architecture: mlp}
  generator: {width: 4, perturbation_bound: 0.25}
  ratio: {generator_turns: {int: [1, 2]}}
"""


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., SweepFolder]:
    def make(name: str = "tiny", *, replace: tuple[str, str] = ("", ""), num_trials: int | None = None) -> SweepFolder:
        return SweepFolder.create(name, SPACE.replace(*replace), "tiny.yaml", home=tmp_path, num_trials=num_trials)

    return make


def row(step: int, robust: float = 0.5, **others: float) -> dict[str, float]:
    """Return the metrics of one report, as a training loop makes them: at the last step also those of the end."""
    names = ("clean", "fgsm", "rfgsm", "pgd", "robust")
    accuracies = {f"watch/{name}": robust for name in names} | {name: robust for name in names if step >= STEPS}
    return {**accuracies, "step": step, "compute": float(step), "train_s": 1.0, "evaluation_s": 0.5, **others}


def train(ledger: Ledger, run: Run, robust: float = 0.5, start: int = 1) -> bool:
    """Report a run to its end; return False if it was pruned on the way."""
    for step in range(start, STEPS):
        if not ledger.report(run.key, row(step, robust)):
            return False
    ledger.complete(run.key, row(STEPS, robust))
    return True


def train_all(ledger: Ledger) -> list[str]:
    """Train whatever the ledger hands out, one by one; return the keys in order."""
    keys = []
    while (run := ledger.next_run()) is not None:
        keys.append(run.key)
        train(ledger, run, robust=0.1 * (run.number + 1))
    return keys


def train_really(ledger: Ledger, store: SweepStore | None = None) -> None:
    """Train whatever the ledger hands out with real loops and checkpoints, in this process.

    Args:
        ledger: of the sweep.
        store: that the sweep is in, if that is a working copy.
    """
    from trainables.config import parse
    from trainables.data.tensors import load_dataset
    from trainables.storage import checkpoint
    from trainables.training import registry
    from trainables.training.machine.runtime import set_num_threads

    set_num_threads(1)  # as Ray does for a run with one CPU, which the provenance of a bundle says
    while (run := ledger.next_run()) is not None:
        config = parse(run.settings)
        loop = registry.build(config, load_dataset(config.dataset))
        while not loop.done:
            metrics = loop.step()
            state = {"loop": loop.state(), "metrics": metrics}
            checkpoint.save(run.folder / "checkpoint", loop.num_reports, state, identity=run.identity, store=store)
            if not loop.done:
                ledger.report(run.key, metrics)
        ledger.complete(run.key, metrics)


@pytest.fixture
def run(run_typed):
    """Return what `run_typed` returns, but no command that is named has the ``--home`` that was typed."""

    def run(*arguments: str) -> tuple[int, str]:
        code, output = run_typed(*arguments)
        return code, re.sub(r"(`tuner [^`]*?)\s--home\s[^`]+`", r"\1`", output)

    return run


@pytest.fixture
def run_typed(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in an empty folder and returns its exit code and output."""
    monkeypatch.chdir(tmp_path)
    for name in ("TUNER_HOME", "TUNER_DATA", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    # The command takes its name, and that of the variables for completion, from how this process was started.
    monkeypatch.setattr(sys.modules["__main__"], "__package__", "", raising=False)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["tuner", *arguments])
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


@pytest.fixture
def with_mlflow(put_mlflow_database: Callable[[Path], None], tmp_path: Path) -> None:
    """Let MLflow's database be in the home of `make_sweep` already."""
    put_mlflow_database(tmp_path)


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    sweep = SweepFolder.create("real", REAL, "real.yaml", home=tmp_path_factory.mktemp("home"))
    train_really(Ledger(sweep))
    return sweep


def forget_location(folder: Path) -> None:
    """Let the copy of a sweep's folder be taken for the sweep itself, of which it does not know where it was."""
    meta = json.loads((folder / "sweep.json").read_text())
    del meta["location"], meta["sha256"]
    write_json(folder / "sweep.json", meta)


@pytest.fixture
def trained_sweep(_trained_once: SweepFolder, tmp_path: Path) -> SweepFolder:
    """Return a copy of a sweep whose runs were really trained: two baselines and two trials, complete."""
    shutil.copytree(_trained_once.folder, tmp_path / "real")
    forget_location(tmp_path / "real")
    return SweepFolder.open("real", home=tmp_path)


@pytest.fixture(scope="session")
def _exported_once(_trained_once: SweepFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tuner import Sweep

    home = tmp_path_factory.mktemp("exported")
    shutil.copytree(_trained_once.folder, home / "real")
    forget_location(home / "real")
    return Sweep.open("real", home=home).export(output=home / "best")


@pytest.fixture
def bundle(_exported_once: Path, tmp_path: Path) -> Path:
    """Return a copy of the bundle of a run that was really trained."""
    return Path(shutil.copytree(_exported_once, tmp_path / "best"))
