"""A search with several objectives: what its trials reported, weighted, and what a sampler learns from it."""

from __future__ import annotations

import math

import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.tuner.conftest import STEPS
from tests.tuner.search.test_samplers import TWO, create, metrics, space, train_tradeoff
from tuner.search.ledger import Ledger
from tuner.search.sampling.several_objectives import ObjectiveHistory, random_weights, report_attribute
from tuner.search.sampling.visible_trials import NUM_VISIBLE, visible_by_number

BOTH = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]


def trial(
    number: int,
    *reports: tuple[float, float],
    values: tuple[float, float] | None = None,
    state: TrialState | None = None,
    **kept: float,
) -> FrozenTrial:
    """Return a trial: complete if it has values, else pruned, or in the state that is given."""
    made = create_trial(
        state=TrialState.PRUNED if values is None else TrialState.COMPLETE,
        values=values,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0.0, 1.0)},
        user_attrs={report_attribute(step): list(point) for step, point in enumerate(reports, 1)},
        constraints=kept,
    )
    made.number, made.state = number, state or made.state
    return made


def test_a_trial_counts_with_its_places_among_those_that_reported_at_its_last_step():
    trials = [
        trial(0, (0.9, 0.5), values=(0.8, 0.4)),
        trial(1, (0.5, 0.1)),  # stopped: second in the first objective at that step, first in the other
        trial(2, (0.4, 0.9), values=(0.9, 0.6)),
        trial(3, (0.3, 0.2), state=TrialState.RUNNING),
        trial(4, state=TrialState.RUNNING),
        trial(5, (0.99, 0.0), state=TrialState.FAIL),
    ]
    history = ObjectiveHistory(BOTH)
    first = history.weighted(trials, [1.0, 0.0])
    assert first == pytest.approx({0: 1.05, 1: 1.05, 2: 0.0, 3: 3.15})
    assert history.weighted(trials, [0.0, 1.0]) == pytest.approx({0: 0.0, 1: 0.0, 2: 1.05, 3: 1.05})
    assert history.weighted(trials, [0.5, 0.5]) == ObjectiveHistory(BOTH).weighted(trials, [0.5, 0.5])


def test_what_runs_counts_until_it_has_ended_and_then_once():
    history = ObjectiveHistory(BOTH)
    running = trial(1, (0.9, 0.1), state=TrialState.RUNNING)
    before = history.weighted([trial(0, (0.5, 0.5)), running], [0.5, 0.5])
    assert before[0] == pytest.approx(0.55)
    after = history.weighted([trial(0, (0.5, 0.5)), trial(1, (0.9, 0.1), values=(0.3, 0.9))], [0.5, 0.5])
    assert after == pytest.approx({0: 0.55, 1: 0.0})


def test_trials_that_break_a_constraint_or_report_no_number_set_no_place():
    trials = [trial(0, values=(0.9, 0.1), ours=1.0), trial(1, values=(0.5, 0.5)), trial(2, (math.nan, 0.1))]
    assert ObjectiveHistory(BOTH).weighted(trials, [0.5, 0.5]) == pytest.approx({0: 0.0, 1: 0.0})


def test_a_sampler_sees_the_best_and_the_newest_and_constraints_of_stopped_trials_as_kept():
    trials = [trial(number, values=(number / 1000, 0.5), ours=0.0) for number in range(NUM_VISIBLE + 30)]
    trials.append(trial(len(trials), (0.1, 0.1)))
    shown = visible_by_number(trials, {number: float(number) for number in range(len(trials))})
    assert len(shown) == NUM_VISIBLE
    assert {one.number for one in shown} >= {0, 39, len(trials) - 1}
    assert all(one.state == TrialState.COMPLETE and one.constraints == {"ours": 0.0} for one in shown)
    assert len(trials[0].values) == 2  # the study's own trial is as it was


@pytest.mark.parametrize("num", [2, 3, 16])
def test_weights_are_of_every_kind_and_the_same_for_a_seed(num):
    drawn = [random_weights(num, seed) for seed in range(200)]
    assert drawn == [random_weights(num, seed) for seed in range(200)]
    assert all(sum(weights) == pytest.approx(1.0) and min(weights) > 0 for weights in drawn)
    assert min(weights[0] for weights in drawn) < 0.1 / num < 1.5 / num < max(weights[0] for weights in drawn)


def test_a_resumed_search_with_two_objectives_draws_what_an_uninterrupted_one_does(tmp_path):
    text = space("sampler: tpe, pruner: {successive_halving: {min_resource: 1}}", TWO).replace(
        "trials: 12", "trials: 24"
    )
    whole = Ledger(create(tmp_path, text))
    train_tradeoff(whole)
    sweep = create(tmp_path, text, "b")
    for _ in range(3):  # each goes on where the last was killed
        ledger = Ledger(sweep)
        for _ in range(9):
            run = ledger.next_run()
            if run is not None and all(ledger.report(run.key, metrics(run, step)) for step in range(1, STEPS)):
                ledger.complete(run.key, metrics(run, STEPS))
    assert {key: record.run.settings for key, record in ledger.records.items()} == {
        key: record.run.settings for key, record in whole.records.items()
    }
    assert any(record.state == "pruned" for record in whole.records.values())
