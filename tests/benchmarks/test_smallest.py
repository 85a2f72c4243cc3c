"""Benchmarks that need no Ray and no earlier commit, at their smallest size: whoever measures finds them running."""

from __future__ import annotations

import importlib.util
import io

import pytest
import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks import asks, attack_speed, bodies, commit_side, trainers, updates
from trainables.config import parse
from trainables.data.tensors import Dataset, load


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load("mnist", validation=5000)


def printed(table: Table) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("recipe", updates.RECIPES)
@pytest.mark.parametrize("prepare", [updates._ours, updates._plain_through_pil, updates._plain_tensors])
def test_every_side_of_the_updates_trains(dataset, prepare, recipe):
    advance = prepare(recipe, dataset)
    advance()
    advance()


@pytest.mark.parametrize("recipe", trainers.RECIPES)
def test_every_recipe_of_the_trainers_trains(dataset, monkeypatch, recipe):
    monkeypatch.setattr(trainers, "MINIBATCHES", 1)
    trainers._ours(recipe, dataset)()
    if importlib.util.find_spec("art"):  # of the extra `bench`
        trainers._theirs(recipe, dataset)()


def test_bodies(monkeypatch):
    monkeypatch.setattr(bodies, "NUM_IMAGES", 2)
    monkeypatch.setattr(bodies, "ROUNDS", 1)
    monkeypatch.setattr(bodies, "PASSES", 1)
    assert "space_to_depth" in printed(bodies.measure())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of foolbox's
def test_attacks_of_both_sides_on_a_net_that_knows_nothing(dataset, monkeypatch):
    monkeypatch.setattr(attack_speed, "BATCH_SIZE", 2)
    torch.manual_seed(0)
    net = attack_speed.registry.build(parse({"trainable": "standard", "compute": 1.0}), dataset).classifier.eval()
    seconds, accuracies = attack_speed._run_all(net, *dataset.test.batch(torch.arange(4)))
    assert set(seconds) == set(accuracies) == set(attack_speed.ATTACKS)
    assert {name for pair in attack_speed.COMPARED for name in pair[:2]} == set(seconds)


def test_this_tree_as_a_side_of_the_commits(dataset, tmp_path):
    net = attack_speed.registry.build(parse({"trainable": "standard", "compute": 1.0}), dataset).classifier
    weights = tmp_path / "net.safetensors"
    attack_speed.save_file(net.state_dict(), weights)
    for run in commit_side.rounds(str(weights)).values():
        run()


def test_asks(monkeypatch):
    monkeypatch.setattr(asks, "NUM_TRIALS", (2, 12))
    monkeypatch.setattr(asks, "NUM_ASKS", 1)
    measured = printed(asks.measure())
    assert all(f"ask {sampler}" in measured for sampler in asks.SAMPLERS)
