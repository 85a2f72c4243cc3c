"""Warm start: which earlier trials a new sweep takes over, and what the sampler makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.configurations import parse_space
from tests.tuner.conftest import STEPS, row, train_all
from tuner.errors import UserError
from tuner.search.ledger import Ledger
from tuner.search.warm_start import collect_observations
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

TEXT = """\
name: warm
trainable: gan
dataset: {name: digits, validation: 200}
budget: {trials: 12, compute: 3}
search: {sampler: tpe, pruner: {successive_halving: {min_resource: 1, reduction_factor: 3}}}
baselines: [standard]
parameters:
  clean_weight: {float: [0.0, 1.0]}
  batch_size: {choice: [32, 64]}
  ratio: {choice: {even: {kind: constant, generator_turns: 1}, uneven: {kind: stepped, steps: [1, 3]}}}
"""


def train_earlier(folder: Path, text: str = TEXT, name: str = "earlier") -> SweepFolder:
    sweep = SweepFolder.create(name, text, "a.yaml", home=folder)
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        goal = 1 - abs(run.settings.get("clean_weight", 0) - 0.3)
        if all(ledger.report(run.key, row(step, goal * step / STEPS)) for step in range(1, STEPS)):
            ledger.complete(run.key, row(STEPS, goal))
    return sweep


def warmed(folder: Path, text: str, earlier: SweepFolder, name: str = "new") -> SweepFolder:
    observations, _ = collect_observations(parse_space(text, "b.yaml"), [earlier])
    return SweepFolder.create(name, text, "b.yaml", home=folder, warm_start=observations)


def test_trials_of_the_same_space_are_known_and_not_run_again(tmp_path):
    earlier = train_earlier(tmp_path)
    states = [record.state for record in read_records(earlier) if record.run.kind == "trial"]
    assert {"complete", "pruned"} == set(states)
    sweep = warmed(tmp_path, TEXT, earlier)
    for _ in range(2):  # a driver that dies at once adds nothing twice
        ledger = Ledger(sweep)
        known = ledger._studies["trial"].get_trials()
        assert [trial.state.name.lower() for trial in known] == states
    keys = train_all(ledger)
    assert keys == ["baseline-standard", *(f"trial-{number:04d}" for number in range(12, 24))]
    assert ledger.is_complete
    assert len(read_records(sweep)) == 13
    assert Ledger(sweep).next_run() is None


def test_what_is_known_leads_the_sampler(tmp_path):
    earlier = train_earlier(tmp_path, TEXT.replace("trials: 12", "trials: 40"))
    text = TEXT.replace("trials: 12", "trials: 8")
    cold = SweepFolder.create("cold", text, "b.yaml", home=tmp_path)

    def distance(sweep: SweepFolder) -> float:
        ledger = Ledger(sweep)
        runs = [run for run in iter(ledger.next_run, None) if run.kind == "trial"]
        return sum(abs(run.settings["clean_weight"] - 0.3) for run in runs) / len(runs)

    assert distance(warmed(tmp_path, text, earlier)) < 0.7 * distance(cold)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("compute: 3", "compute: 2", "compute is 3.0 there and 2.0 here"),
        ("[32, 64]", "[16, 128]", "batch_size is 32 there, and here one of 16, 128"),
        ("validation: 200", "validation: 100", "dataset.validation is 200 there and 100 here"),
        (
            "trainable: gan",
            "trainable: gan\nevaluation: {epsilon: 0.1}",
            "evaluation.epsilon is 0.3 there and 0.1 here",
        ),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, old, new, words):
    earlier = train_earlier(tmp_path)
    with pytest.raises(UserError, match="no earlier trial fits this space") as caught:
        collect_observations(parse_space(TEXT.replace(old, new), "b.yaml"), [earlier])
    assert words in str(caught.value)


def test_a_narrower_space_takes_the_trials_inside_it(tmp_path):
    earlier = train_earlier(tmp_path)
    text = TEXT.replace("{float: [0.0, 1.0]}", "{float: [0.2, 0.6]}").replace("{choice: [32, 64]}", "64")
    observations, left_out = collect_observations(parse_space(text, "b.yaml"), [earlier])
    trials = [record.run.settings for record in read_records(earlier) if record.run.kind == "trial"]
    fit = [one for one in trials if 0.2 <= one["clean_weight"] <= 0.6 and one["batch_size"] == 64]
    assert [one.parameters["clean_weight"] for one in observations] == [one["clean_weight"] for one in fit]
    assert sum(int(words.split()[0]) for words in left_out) == len(trials) - len(fit)


RATE = "{{float: [0.001, 0.01], schedule: {kinds}, knots: 3}}"


@pytest.mark.parametrize(
    ("old", "new", "taken"),
    [
        ("0.002", RATE.format(kinds="[constant, stepped]"), 12),
        (RATE.format(kinds="[stepped]"), RATE.format(kinds="[linear, stepped]"), 12),
        (RATE.format(kinds="[constant, stepped]"), "{float: [0.001, 0.01]}", None),
    ],
)
def test_schedules_fit_and_a_number_is_a_constant_one(tmp_path, old, new, taken):
    rate = "parameters:\n  classifier: {{learning_rate: {}}}"
    earlier = train_earlier(tmp_path, TEXT.replace("parameters:", rate.format(old)))
    space = parse_space(TEXT.replace("parameters:", rate.format(new)), "b.yaml")
    observations, words = collect_observations(space, [earlier])
    kinds = [
        one.run.settings["classifier"]["learning_rate"] for one in read_records(earlier) if one.run.kind == "trial"
    ]
    constant = sum(isinstance(kind, float) for kind in kinds)
    assert len(observations) == (constant if taken is None else taken)
    for one in observations:
        assert ("classifier.learning_rate.knot_1" in one.parameters) is (taken is not None)
    assert bool(words) is (taken is None)


def test_named_groups_and_several_objectives_fit_too(tmp_path):
    earlier = train_earlier(tmp_path)
    text = TEXT.replace("batch_size: {choice: [32, 64]}", "batch_size: {choice: [64, 32]}")
    text = text.replace("budget:", "objective: [{metric: clean}, {metric: robust}]\nbudget:")
    sweep = warmed(tmp_path, text, earlier)
    ledger = Ledger(sweep)
    assert train_all(ledger)[1:] == [f"trial-{number:04d}" for number in range(12, 24)]
    assert Ledger(sweep).is_complete


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_a_sampler_that_does_not_learn_is_refused(tmp_path, sampler):
    earlier = train_earlier(tmp_path)
    with pytest.raises(UserError, match=f"the sampler {sampler} does not learn"):
        collect_observations(parse_space(TEXT.replace("sampler: tpe", f"sampler: {sampler}"), "b.yaml"), [earlier])
