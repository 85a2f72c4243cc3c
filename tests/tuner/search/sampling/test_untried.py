"""A repeat is the last resort: every point of a finite space is tried before any is tried again."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler

from search_spaces.configurations import parse_space
from tests.tuner.conftest import STEPS, row, train
from tuner.search.distributions import suggest
from tuner.search.ledger import Ledger
from tuner.search.repeats import group_repeats
from tuner.search.sampling.untried import TriedPoints, UntriedSampler
from tuner.sweep.folder import SweepFolder

SAMPLERS = ["tpe", "gp", "nsga2", "random", "qmc"]
PLAIN = "  batch_size: {choice: [16, 32, 64]}\n  generator: {see_label: {choice: [true, false]}}\n"
CONDITIONAL = (
    "  ratio:\n    kind: {choice: [constant, stepped, adaptive]}\n"
    "    generator_turns: {int: [1, 3], when: {kind: constant}}\n"
    "    max_generator_turns: {choice: [5, 9], when: {kind: adaptive}}\n"
)


def create(folder, sampler: str, parameters: str, trials: int, extra: str = "", name: str = "a") -> SweepFolder:
    text = (
        "name: small\ntrainable: gan\ndataset: {name: digits}\n"
        f"budget: {{trials: {trials}, compute: 3}}\nsearch: {{sampler: {sampler}, seed: 1}}\n"
        f"{extra}parameters:\n{parameters}"
    )
    return SweepFolder.create(name, text, "a.yaml", home=folder)


def points(ledger: Ledger) -> list[str]:
    """Return the settings of every run in their order, without the seed."""
    settings = [record.run.settings for record in ledger.records.values()]
    return [json.dumps({**each, "seed": None}, sort_keys=True) for each in settings]


def robust(settings: dict) -> float:
    return 0.2 + 0.001 * settings["batch_size"] + 0.1 * settings["generator"]["see_label"]


def train_all(ledger: Ledger) -> None:
    for run in iter(ledger.next_run, None):
        train(ledger, run, robust(run.settings))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("parameters", [PLAIN, CONDITIONAL], ids=["plain", "conditional"])
def test_every_point_is_tried_before_any_is_tried_again(tmp_path, sampler, parameters):
    ledger = Ledger(create(tmp_path, sampler, parameters, 14))
    train_all(ledger)
    tried = points(ledger)
    assert len(set(tried[:6])) == 6
    assert len(tried) == 14


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "extra",
    [
        "objective: [{metric: robust}, {metric: clean}]\n",
        "first:\n- {batch_size: 64, generator: {see_label: true}}\n- {batch_size: 16}\n",
    ],
    ids=["two objectives", "known configurations"],
)
def test_whatever_is_searched_for(tmp_path, sampler, extra):
    ledger = Ledger(create(tmp_path, sampler, PLAIN, 6, extra))
    train_all(ledger)
    assert len(set(points(ledger))) == 6


@pytest.mark.parametrize("sampler", ["tpe", "qmc"])
def test_runs_that_have_not_ended_and_earlier_drivers_count(tmp_path, sampler):
    sweep = create(tmp_path, sampler, CONDITIONAL, 6)
    ledger = Ledger(sweep)
    assert len({ledger.next_run().key for _ in range(2)}) == 2
    ledger = Ledger(sweep)  # after a crash: the same two first
    runs = [ledger.next_run() for _ in range(6)]
    assert len(set(points(ledger))) == 6
    for run in runs:
        ledger.complete(run.key, row(STEPS, 0.4))
    assert ledger.is_complete


def test_pruned_in_brackets_the_points_of_other_brackets_count(tmp_path):
    sweep = create(tmp_path, "tpe, pruner: hyperband", PLAIN, 6)
    ledger = Ledger(sweep)
    train_all(ledger)
    assert len(set(points(ledger))) == 6


def test_a_known_configuration_that_stands_twice_is_tried_once(tmp_path):
    extra = "first:\n" + "- {batch_size: 64, generator: {see_label: true}}\n" * 3 + "- {batch_size: 16}\n" * 2
    ledger = Ledger(create(tmp_path, "random", PLAIN, 6, extra))
    train_all(ledger)
    assert len(set(points(ledger))) == 6
    assert [record.run.settings["batch_size"] for record in ledger.records.values()][:3] == [64, 16, 16]


def test_a_branch_with_real_numbers_is_never_used_up(tmp_path):
    parameters = (
        "  ratio:\n    kind: {choice: [constant, adaptive]}\n"
        "    target_generator_loss: {float: [0.3, 0.9], when: {kind: adaptive}}\n"
    )
    ledger = Ledger(create(tmp_path, "random", parameters, 12))
    train_all(ledger)
    assert len(set(points(ledger))) == 12
    assert sum('"kind": "constant"' in point for point in points(ledger)) == 1


def test_repeats_have_seeds_of_their_own_and_are_pooled_where_means_are_shown(tmp_path, run):
    sweep = create(tmp_path, "random", PLAIN, 14, "baselines: [standard]\n")
    ledger = Ledger(sweep)
    ledger.complete(ledger.next_run().key, row(STEPS, 0.2))
    for number, trial in enumerate(iter(ledger.next_run, None)):
        ledger.complete(trial.key, row(STEPS, robust(trial.settings) + 0.01 * (number >= 6)))
    assert len({record.run.settings["seed"] for record in ledger.records.values() if record.run.kind == "trial"}) == 14
    groups = group_repeats(sweep.space, ledger.records.values())
    assert sum(len(group.records) for group in groups) == 15
    assert len(groups) == 7
    best = groups[0]
    assert len(best.values("robust")) == len(best.records) > 1
    code, printed = run("compare", "a", "--home", str(tmp_path))
    assert code == 0
    assert "mean over seeds (lowest to highest)" in printed
    assert f"mean of {len(best.records)} seeds, against standard" in printed
    assert "Few seeds" in printed


class Always(BaseSampler):
    """Draws the same values every time; parameters that it has no value for get their first."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        if param_name in self.values:
            return self.values[param_name]
        return param_distribution.choices[0]


def drawn(parameters: str, number: int, **values: Any) -> list[dict[str, Any]]:
    """Return what a search draws whose sampler draws the same every time."""
    head = "name: a\ntrainable: gan\ndataset: {name: digits}\nbudget: {trials: 9, compute: 3}\n"
    space = parse_space(f"{head}search: {{seed: 0}}\nparameters:\n{parameters}", "a.yaml")
    study, tried = optuna.create_study(), TriedPoints(space)
    for seed in range(number):
        study.sampler = UntriedSampler(Always(**values), tried, seed)
        trial = study.ask()
        space.settings(partial(suggest, trial))
        study.tell(trial, 0.0)
    return [trial.params for trial in study.trials]


def test_in_place_of_a_repeat_the_nearest_point_is_tried():
    parameters = (
        "  generator: {width: {int: [8, 40], step: 8}, recursions: {choice: [4, 1, 2]}}\n"
        "  classifier: {learning_rate: {float: [0.01, 0.05], step: 0.01}}\n"
    )
    middle = {"generator.width": 24, "generator.recursions": 2, "classifier.learning_rate": 0.03}
    orders = {
        "generator.width": [8, 16, 24, 32, 40],
        "generator.recursions": [1, 2, 4],
        "classifier.learning_rate": [0.01, 0.02, 0.03, 0.04, 0.05],
    }
    points = drawn(parameters, 75, **middle)
    assert points[0] == middle
    away = [
        sum(abs(order.index(point[name]) - order.index(middle[name])) for name, order in orders.items())
        for point in points
    ]
    assert away == sorted(away)
    assert away.count(1) == 6
    assert len({frozenset(point.items()) for point in points}) == 75


def test_a_step_to_another_branch_draws_what_is_needed_there():
    points = drawn(CONDITIONAL, 7, **{"ratio.kind": "stepped"})
    assert points[0] == points[6] == {"ratio.kind": "stepped"}
    assert [len(point) for point in points[1:6]] == [2] * 5
    assert len({frozenset(point.items()) for point in points}) == 6


def test_in_a_space_too_large_to_be_listed_the_nearest_are_tried_too():
    middle = {"batch_size": 70, "generator.width": 90}
    points = drawn("  generator: {width: {int: [1, 512]}}\n  batch_size: {int: [1, 4096]}\n", 5, **middle)
    away = [abs(point["batch_size"] - 70) + abs(point["generator.width"] - 90) for point in points]
    assert away == [0, 1, 1, 1, 1]
