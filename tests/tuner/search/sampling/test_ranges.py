"""Searches of spaces whose ranges have steps, depend on a sibling, stand beside zero, or in a named group."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from search_spaces.configurations import parse_space
from tests.tuner.conftest import STEPS, row
from tuner.search.ledger import Ledger
from tuner.search.warm_start import collect_observations
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

TEXT = """\
name: ranges
trainable: pgd
dataset: {name: digits, validation: 200}
budget: {trials: 30, compute: 3}
search: {sampler: SAMPLER, seed: 1}
parameters:
  classifier:
    optimizer: {choice: [adam, sgd]}
    learning_rate:
      by: {optimizer: {adam: {float: [1.0e-4, 1.0e-2], log: true}, sgd: {float: [1.0e-2, 1.0], log: true}}}
    weight_decay: {float: [1.0e-6, 1.0e-2], log: true, or_zero: true}
  attack:
    choice:
      single: {steps: 1, epsilon: {float: [0.1, 0.4], step: 0.1}}
      several: {steps: {int: [2, 4]}, epsilon: 0.3}
  batch_size: {int: [16, 64], step: 16}
"""


def train(sweep: SweepFolder, dice: random.Random | None = None, runs: int = 1000) -> None:
    ledger = Ledger(sweep)
    for _ in range(runs):
        run = ledger.next_run()
        if run is None or (dice is not None and dice.random() < 0.3):
            return
        good = 1 - abs(run.settings["classifier"]["learning_rate"] - 0.003)
        ledger.complete(run.key, row(STEPS, max(good, 0.0)))


def create(folder: Path, sampler: str, name: str = "a") -> SweepFolder:
    return SweepFolder.create(name, TEXT.replace("SAMPLER", sampler), "a.yaml", home=folder)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "random", "qmc"])
def test_every_sampler_draws_from_them_and_draws_the_same_when_it_is_resumed(tmp_path, sampler):
    whole, parts = create(tmp_path, sampler, "whole"), create(tmp_path, sampler, "parts")
    train(whole)
    dice = random.Random(2)
    while len([record for record in read_records(parts) if record.state == "complete"]) < 30:
        train(parts, dice, dice.randrange(2, 12))
    drawn = [record.run.settings for record in read_records(whole)]
    assert drawn == [record.run.settings for record in read_records(parts)]
    for settings in drawn:
        classifier = settings["classifier"]
        low, high = {"adam": (1e-4, 1e-2), "sgd": (1e-2, 1.0)}[classifier["optimizer"]]
        assert low <= classifier["learning_rate"] <= high
        assert classifier["weight_decay"] == 0 or 1e-6 <= classifier["weight_decay"] <= 1e-2
        assert min(abs(settings["attack"]["epsilon"] - epsilon) for epsilon in (0.1, 0.2, 0.3, 0.4)) < 1e-9
        assert settings["batch_size"] in (16, 32, 48, 64)
        assert settings["attack"]["epsilon"] == pytest.approx(0.3) or settings["attack"]["steps"] == 1
    assert {settings["classifier"]["optimizer"] for settings in drawn} == {"adam", "sgd"}
    assert {settings["attack"]["steps"] for settings in drawn} == {1, 2, 3, 4}
    assert {settings["classifier"]["weight_decay"] == 0 for settings in drawn} == {True, False}


def test_the_trials_of_such_a_search_fit_the_same_space_and_a_plain_one_around_it(tmp_path):
    sweep = create(tmp_path, "random")
    train(sweep)
    same, left_out = collect_observations(parse_space(TEXT.replace("SAMPLER", "tpe"), "b.yaml"), [sweep])
    assert (len(same), left_out) == (30, [])
    wide = TEXT.replace("SAMPLER", "tpe").replace(
        "      by: {optimizer: {adam: {float: [1.0e-4, 1.0e-2], log: true}, sgd: {float: [1.0e-2, 1.0], log: true}}}",
        "      float: [1.0e-4, 1.0]",
    )
    wide = wide.replace("[1.0e-6, 1.0e-2], log: true, or_zero: true", "[0.0, 1.0]")
    wide = wide[: wide.index("  attack:")] + "  attack: {steps: {int: [1, 4]}, epsilon: {float: [0.1, 0.4]}}\n"
    wide += "  batch_size: {int: [16, 64], step: 16}\n"
    assert len(collect_observations(parse_space(wide, "b.yaml"), [sweep])[0]) == 30
    assert same[0].parameters.keys() >= {"classifier.optimizer", "attack", "batch_size"}
