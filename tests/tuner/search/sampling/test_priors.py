"""Early draws around ``first`` and ``prior``: how many, how near, always in the space, the same when resumed."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from statistics import mean

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.configurations import parse_launched_space, parse_space
from search_spaces.errors import SpaceError
from tests.tuner.conftest import STEPS, row
from trainables.storage.atomic import write_json
from tuner.search.ledger import Ledger
from tuner.search.sampling.priors import AroundSampler, best_of, centre_for, centres_of
from tuner.search.warm_start import collect_observations
from tuner.storage.optuna_internals import contains
from tuner.sweep.folder import SweepFolder
from tuner.sweep.identity import content_of
from tuner.sweep.reader import read_records

TEXT = """\
name: priors
trainable: standard
dataset: {name: digits, validation: 200}
budget: {trials: 22, compute: 3}
search: {sampler: tpe, seed: 2}
parameters:
  classifier:
    learning_rate: {float: [1.0e-5, 1.0e-1], log: true}
    weight_decay: {float: [0.0, 1.0]}
  batch_size: {choice: [16, 32, 64, 128]}
first:
  - classifier: {learning_rate: 1.0e-3, weight_decay: 0.5}
    batch_size: 32
"""
PRIORS = (
    TEXT[: TEXT.index("first:")]
    .replace("log: true}", "log: true, prior: 1.0e-3}")
    .replace("1.0]}", "1.0], prior: 0.5}")
)


def create(folder: Path, text: str, name: str = "a", **others: object) -> SweepFolder:
    return SweepFolder.create(name, text, "a.yaml", home=folder, **others)  # type: ignore[arg-type]


def train(sweep: SweepFolder, dice: random.Random | None = None, runs: int = 1000) -> None:
    ledger = Ledger(sweep)
    for _ in range(runs):
        run = ledger.next_run()
        if run is None or (dice is not None and dice.random() < 0.3):
            return
        ledger.complete(run.key, row(STEPS, run.settings["classifier"]["weight_decay"]))


def distances(sweep: SweepFolder) -> list[float]:
    """Return how many decades each trial's learning rate lies from that of the prior."""
    rates = [record.run.settings["classifier"]["learning_rate"] for record in read_records(sweep)]
    return [abs(math.log10(rate / 1e-3)) for rate in rates]


@pytest.mark.parametrize(("text", "num_first", "sampler"), [(TEXT, 1, "tpe"), (PRIORS, 0, "tpe"), (TEXT, 1, "gp")])
def test_every_second_of_the_first_twenty_draws_lies_around_it(tmp_path, text, num_first, sampler):
    sweep = create(tmp_path, text.replace("tpe", sampler))
    train(sweep)
    plain = create(tmp_path, text.replace("tpe", f"{sampler}, prior_draws: 0"), "plain")
    train(plain)
    around = distances(sweep)[num_first : num_first + 20 : 2]
    assert mean(around) < 0.6 < mean(distances(plain)[num_first : num_first + 10])
    assert distances(sweep)[:num_first] == distances(plain)[:num_first] == [0.0] * num_first
    assert len(set(around)) == 10


@pytest.mark.parametrize("text", [TEXT, PRIORS])
def test_a_killed_search_draws_the_same(tmp_path, text):
    whole, parts = create(tmp_path, text, "whole"), create(tmp_path, text, "parts")
    train(whole)
    dice = random.Random(3)
    while not Ledger(parts).is_complete:
        train(parts, dice, dice.randrange(3, 12))
    assert [one.run.settings for one in read_records(parts)] == [one.run.settings for one in read_records(whole)]


def test_draws_lie_around_the_best_of_several(tmp_path):
    bad = "  - classifier: {learning_rate: 1.0e-5, weight_decay: 0.0}\n    batch_size: 128\n"
    text = TEXT.replace("first:\n", f"first:\n{bad}").replace("trials: 22", "trials: 24") + bad.replace("128", "64")
    train(sweep := create(tmp_path, text))
    assert distances(sweep)[:3] == [2.0, 0.0, 2.0]
    assert mean(distances(sweep)[3:23:2]) < 0.6


def ended(state: str, value: float | None = None, reports: dict[int, float] | None = None, violation: float = 0.0):
    """Return a trial that has ended so."""
    made = optuna.trial.create_trial(state=optuna.trial.TrialState[state], value=value, intermediate_values=reports)
    made.set_constraint("clean", violation)
    return made


def test_which_trial_has_done_best():
    maximise, minimise = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
    complete, better = ended("COMPLETE", 0.3), ended("COMPLETE", 0.6)
    infeasible = ended("COMPLETE", 0.9, violation=0.1)
    early, late = ended("PRUNED", reports={1: 0.9}), ended("PRUNED", reports={1: 0.0, 2: 0.2})
    failed = ended("FAIL")
    assert best_of([complete, infeasible, better, early], maximise) == 2
    assert best_of([complete, better], minimise) == 0
    assert best_of([early, infeasible, late], maximise) == 1
    assert best_of([failed, early, late, late], maximise) == 2
    assert best_of([failed], maximise) is None
    assert best_of([], maximise) is None


def test_a_search_of_fewer_trials_draws_around_nothing():
    for trials, is_around in ((19, False), (20, True)):
        space = parse_space(TEXT.replace("trials: 22", f"trials: {trials}"), "a.yaml")
        assert (centre_for(space, centres_of(space), 0) is not None) == is_around
        assert centre_for(space, centres_of(space), 1) is None


def test_a_warm_started_search_counts_its_own_draws(tmp_path):
    train(create(tmp_path, TEXT.replace("tpe", "random"), "earlier"))
    space = parse_space(TEXT, "a.yaml")
    earlier, _ = collect_observations(space, [SweepFolder.open("earlier", home=tmp_path)])
    sweep = create(
        tmp_path,
        TEXT.replace("trials: 22", "trials: 11").replace("tpe", "tpe, prior_draws: 10"),
        "new",
        warm_start=earlier,
    )
    train(sweep)
    assert mean(distances(sweep)[1:11:2]) < 0.75


@pytest.mark.parametrize("sampler", ["random", "qmc", "nsga2", "{class: 'optuna.samplers:TPESampler'}"])
def test_other_samplers_draw_as_they_are(tmp_path, sampler):
    sweep, plain = (
        create(tmp_path, TEXT.replace("tpe", f"{sampler}{more}"), name)
        for more, name in (("", "a"), (", prior_draws: 0", "b"))
    )
    train(sweep, runs=12)
    train(plain, runs=12)
    assert distances(sweep) == distances(plain)
    with pytest.raises(SpaceError, match="prior: has no effect: the sampler"):
        parse_space(PRIORS.replace("tpe", sampler), "x.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("prior: 1.0e-3", "prior: 1.0", "learning_rate.prior: must be a number in [1e-05, 0.1], not 1.0"),
        ("prior: 1.0e-3", "prior: x", "must be a number in [1e-05, 0.1], not 'x'"),
        ("prior: 1.0e-3", "prior: null", "must be a number in [1e-05, 0.1], not null"),
        ("prior: 1.0e-3", "prior: 1.0e-3, schedule: linear", "prior: cannot stand beside schedule"),
        ("16, 32, 64, 128]", "16, 32], prior: 64", "batch_size.prior: must be one of 16, 32, not 64"),
        ("prior: 0.5", "prior: 0.45, step: 0.1", "must be a number in [0, 1] in steps of 0.1, not 0.45"),
        ("seed: 2", "seed: 2, prior_draws: -1", "search.prior_draws: must be greater than or equal to 0, not -1"),
        ("learning_rate: {", "learning_rate: {prio: 1, ", "unknown key 'prio'; did you mean 'prior'?"),
    ],
)
def test_a_prior_that_cannot_be_is_a_mistake_with_its_line(old, new, message):
    with pytest.raises(SpaceError) as caught:
        parse_space(PRIORS.replace(old, new), "x.yaml")
    assert message in str(caught.value)
    assert all(mistake.line in range(5, 11) for mistake in caught.value.mistakes)


def test_priors_of_ranges_that_several_parameters_decide():
    parameters = {
        "classifier": {
            "optimizer": {"choice": ["adam", "sgd"], "prior": "sgd"},
            "learning_rate": {
                "by": {"optimizer": {"adam": {"float": [1e-4, 1e-2]}, "sgd": {"float": [1e-2, 1.0], "prior": 0.1}}}
            },
            "weight_decay": {"float": [1e-4, 1e-2], "or_zero": True, "prior": 0},
            "gradient_clip": {"choice": [None, 1.0], "prior": None},
        }
    }
    content = {"name": "a", "trainable": "standard", "budget": {"trials": 3, "compute": 3}, "parameters": parameters}
    assert centres_of(parse_space(json.dumps(content), "x.yaml")) == [
        {
            "classifier.optimizer": "sgd",
            "classifier.learning_rate.sgd": 0.1,
            "classifier.weight_decay.is_zero": True,
            "classifier.gradient_clip": None,
        }
    ]
    content["first"] = [{"classifier": {"optimizer": "adam"}}, {"classifier": {"weight_decay": 1e-3}}]
    first, second = centres_of(parse_space(json.dumps(content), "x.yaml"))
    assert (first["classifier.optimizer"], second["classifier.optimizer"]) == ("adam", "sgd")
    assert second["classifier.weight_decay.is_zero"] is False


DOMAINS = st.one_of(
    st.tuples(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6)).map(
        lambda pair: FloatDistribution(pair[0], pair[0] + pair[1])
    ),
    st.tuples(st.floats(1e-9, 1e3), st.floats(1.01, 1e6)).map(
        lambda pair: FloatDistribution(pair[0], pair[0] * pair[1], log=True)
    ),
    st.tuples(st.integers(1, 40), st.sampled_from([0.1, 0.25, 1e-3, 3.0])).map(
        lambda pair: FloatDistribution(0.0, round(pair[0] * pair[1], 9), step=pair[1])
    ),
    st.tuples(st.integers(-50, 50), st.integers(1, 100)).map(lambda pair: IntDistribution(pair[0], pair[0] + pair[1])),
    st.tuples(st.integers(1, 50), st.integers(1, 100)).map(
        lambda pair: IntDistribution(pair[0], pair[0] + pair[1], log=True)
    ),
    st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(1, 9)).map(
        lambda three: IntDistribution(three[0], three[0] + three[1] * three[2], step=three[1])
    ),
    st.sampled_from([(1, 2, 3), (True, False), ("a", "b", None), (8, 4, 2), (0.5,)]).map(CategoricalDistribution),
)


@given(DOMAINS, st.integers(0, 2**31), st.booleans())
@settings(deadline=None, max_examples=150)
def test_every_draw_is_in_the_space(domain, seed, at_low):
    study = optuna.create_study()
    ends = domain.choices if isinstance(domain, CategoricalDistribution) else (domain.low, domain.high)
    sampler = AroundSampler({"x": ends[0 if at_low else -1]}, seed)
    for _ in range(8):
        assert contains(domain, sampler.sample_independent(study, study.ask(), "x", domain))  # type: ignore[arg-type]


def test_sweeps_of_earlier_releases_draw_as_they_did(make_sweep):
    assert parse_space(TEXT, "a.yaml").search.prior_draws == 20
    assert parse_launched_space(TEXT, "space.yaml").search.prior_draws == 0
    sweep = make_sweep()
    path = sweep.folder / "sweep.json"
    meta = json.loads(path.read_text())
    del meta["space"]["content"]["search.prior_draws"]
    write_json(path, {key: value for key, value in meta.items() if key != "sha256"})
    opened = SweepFolder.open("tiny", home=sweep.folder.parent)
    assert (opened.space.search.prior_draws, opened.edited_keys) == (0, ())
    again = SweepFolder.open(opened.extended(9).name, home=sweep.folder.parent)
    assert (again.space.search.prior_draws, again.edited_keys) == (0, ())


def test_a_prior_is_part_of_what_a_sweep_was_launched_with(tmp_path):
    sweep = create(tmp_path, PRIORS)
    assert SweepFolder.open("a", home=tmp_path) == sweep
    content = content_of(sweep.space)
    assert content["parameters.classifier.learning_rate"]["prior"] == [1e-3]  # type: ignore[index]
    assert "prior" not in content["parameters.batch_size"]  # type: ignore[operator]
