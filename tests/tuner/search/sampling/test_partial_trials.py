"""What samplers see of a search: stopped and running trials by their shares, and never more than so many trials."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import GPSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.tuner.conftest import train
from tuner.search.ledger import Ledger
from tuner.search.sampling.partial_trials import PartialTrialSampler
from tuner.search.sampling.visible_trials import NUM_BEST, NUM_VISIBLE, TrialHistory, visible_trials
from tuner.storage.journal import Journal

MAX, MIN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
UNIT = FloatDistribution(0.0, 1.0)
UNKNOWN = float("nan")


def trial(
    number: int,
    *reports: float,
    value: float | None = None,
    state: TrialState | None = None,
    x: float = 0.5,
    **kept: float,
) -> FrozenTrial:
    """Return a trial: complete if it has a value, else pruned, or running if it is said to be."""
    if state is None:
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
    ended = TrialState.PRUNED if state == TrialState.RUNNING else state
    made = create_trial(
        state=ended,
        value=value,
        params={"x": x},
        distributions={"x": UNIT},
        intermediate_values=dict(enumerate(reports, start=1)),
        constraints=kept,
    )
    made.number, made.state = number, state
    return made


def values(trials: list[FrozenTrial]) -> dict[int, float | None]:
    return {one.number: one.value for one in trials if one.state == TrialState.COMPLETE}


def test_a_stopped_trial_counts_with_its_share_of_the_best_at_its_step():
    trials = [trial(0, 0.2, 0.4, value=0.8), trial(1, 0.1), trial(2, 0.1, 0.5), trial(3, 0.3, value=0.4)]
    assert values(visible_trials(trials, MAX)) == pytest.approx({0: 1.0, 1: 0.1 / 0.3, 2: 1.0, 3: 0.5})


def test_a_running_trial_counts_once_it_has_reported():
    trials = [trial(0, 0.2, value=0.8), trial(1, 0.1, state=TrialState.RUNNING), trial(2, state=TrialState.RUNNING)]
    shown = visible_trials(trials, MAX)
    assert values(shown) == pytest.approx({0: 1.0, 1: 0.5})
    assert shown[2].state == TrialState.RUNNING


_REPORTS = st.lists(st.sampled_from([-0.1, 0.2, 0.5, 0.5, 0.8, UNKNOWN]), max_size=3)
_STATES = st.sampled_from([TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])


@given(
    st.lists(st.lists(st.tuples(_STATES, _REPORTS, st.booleans()), max_size=30), max_size=8),
    st.sampled_from([MAX, MIN]),
)
def test_what_is_kept_of_ended_trials_changes_nothing(looks, direction):
    """At each look some trials are new, and of those that ran some have ended."""
    trials: list[FrozenTrial] = []
    history = TrialHistory(direction)
    for new in looks:
        ends = iter(new)
        for number in [one.number for one in trials if one.state == TrialState.RUNNING]:
            trials[number] = _made(number, *next(ends, (TrialState.RUNNING, [0.2], False)))
        trials += [_made(len(trials) + place, *one) for place, one in enumerate(ends)]
        shown, anew = visible_trials(trials, direction, history), visible_trials(trials, direction)
        assert [(one.number, one.state, one.values) for one in shown] == [
            (one.number, one.state, one.values) for one in anew
        ]
        assert [one.constraints for one in shown] == [one.constraints for one in anew]


def _made(number: int, state: TrialState, reports: list[float], breaks_a_constraint: bool) -> FrozenTrial:
    value = 0.1 + number / 100 if state == TrialState.COMPLETE else None
    return trial(number, *reports, value=value, state=state, masking=float(breaks_a_constraint))


def test_the_best_of_what_is_minimised_is_the_lowest():
    assert values(visible_trials([trial(0, 2.0, value=1.0), trial(1, 4.0)], MIN)) == pytest.approx({0: 1.0, 1: 2.0})


def test_what_cannot_be_compared_comes_as_it_is():
    without_any = [trial(0, 0.0), trial(1, UNKNOWN), trial(2), trial(3, 0.0, state=TrialState.FAIL)]
    assert visible_trials(without_any, MAX) == without_any
    not_positive = [trial(0, -0.5, value=-0.2), trial(1, -0.6)]
    assert visible_trials(not_positive, MAX) == not_positive


def test_a_trial_that_breaks_a_constraint_is_nobodys_measure():
    trials = [trial(0, 0.9, value=0.9, masking=1.0), trial(1, 0.3, value=0.6, masking=0.0), trial(2, 0.3)]
    shown = visible_trials(trials, MAX)
    assert values(shown)[2] == pytest.approx(1.0)
    assert [one.constraints for one in shown] == [{"masking": 1.0}, {"masking": 0.0}, {"masking": 0.0}]


@given(st.lists(st.tuples(st.lists(st.floats(0.0, 1.0), max_size=3), st.one_of(st.none(), st.floats(0.0, 1.0)))))
def test_nothing_is_lost_or_changed_and_equal_steps_keep_their_order(given_trials):
    trials = [trial(number, *reports, value=value) for number, (reports, value) in enumerate(given_trials)]
    before = copy.deepcopy(trials)
    shown = visible_trials(trials, MAX)
    assert trials == before
    assert [one.number for one in shown] == [one.number for one in trials]
    for one, other in pairwise(trials):
        shares = [shown[number].value for number in (one.number, other.number)]
        if one.last_step == other.last_step and one.value is other.value is None and None not in shares:
            step = one.last_step
            assert (shares[0] <= shares[1]) == (one.intermediate_values[step] <= other.intermediate_values[step])


def test_a_long_search_shows_its_best_and_its_newest():
    trials = [trial(number, 0.5, value=1.0 - number / 2000) for number in range(1000)]
    numbers = [one.number for one in visible_trials(trials, MAX)]
    assert numbers == [*range(NUM_BEST), *range(1000 - NUM_VISIBLE + NUM_BEST, 1000)]


@pytest.mark.parametrize("sampler", [GPSampler, TPESampler])
def test_a_sampler_learns_from_trials_that_were_all_stopped(sampler):
    study = optuna.create_study(direction="maximize")
    rng = RandomSampler(seed=0)
    for _ in range(12):
        study.sampler = rng
        one = study.ask({"x": UNIT})
        one.report(one.params["x"], 1)
        study.tell(one, state=TrialState.PRUNED)
    drawn = []
    for seed in range(3):
        study.sampler = PartialTrialSampler(sampler(seed=seed))
        one = study.ask({"x": UNIT})
        drawn.append(one.params["x"])
        study.tell(one, state=TrialState.FAIL)
    assert min(drawn) > 0.6


def test_choices_of_rising_numbers_are_shown_in_their_order():
    rates, names = CategoricalDistribution([0.001, 0.003, 0.01]), CategoricalDistribution(["a", "b", "c"])
    asked: list[dict[str, BaseDistribution]] = []

    class Last(RandomSampler):
        def infer_relative_search_space(self, study, trial):
            return optuna.search_space.intersection_search_space(study.get_trials(deepcopy=False))

        def sample_relative(self, study, trial, search_space):
            asked.append(search_space)
            places = [one.params["rate"] for one in study.get_trials(deepcopy=False) if one.number != trial.number]
            return {"rate": max(places), "name": "c"}

    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"rate": 0.01, "name": "a"})
    drawn = []
    for number in range(3):
        study.sampler = PartialTrialSampler(Last(seed=number))
        one = study.ask({"rate": rates, "name": names})
        study.tell(one, 0.5)
        drawn.append(one.params)
    assert asked[0] == {"rate": IntDistribution(0, 2), "name": names}
    assert drawn[1] == {"rate": 0.01, "name": "c"}
    assert all(one.distributions == {"rate": rates, "name": names} for one in study.trials)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sweep_with_constraints_and_early_stopping_draws_the_same_when_resumed(make_sweep, sampler):
    search = (
        "search: {sampler: random, seed: 7}\nbaselines: [standard, fgsm_retraining]",
        f"search: {{sampler: {sampler}, seed: 7, pruner: {{successive_halving: {{reduction_factor: 2}}}}}}\n"
        "constraints: {clean: {min: 0.3}}\nbaselines: []",
    )
    whole, parts = (make_sweep(name, replace=search, num_trials=13) for name in ("whole", "parts"))

    def train_one(ledger: Ledger, run) -> None:
        robust = 0.3 + 0.2 * math.log10(1e4 * run.settings["generator"]["learning_rate"])
        train(ledger, run, robust)

    ledger = Ledger(whole)
    for run in iter(ledger.next_run, None):
        train_one(ledger, run)
    while not (ledger := Ledger(parts)).is_complete:
        run = ledger.next_run()
        train_one(ledger, run)
    settings = [[record.run.settings for record in Ledger(sweep).records.values()] for sweep in (whole, parts)]
    assert settings[0] == settings[1]
    assert {record.state for record in Ledger(whole).records.values()} == {"complete", "pruned"}


def test_a_trial_reads_and_writes_as_much_after_many_as_after_few(make_sweep, monkeypatch):
    num_rows = 0

    def counted(method):
        def call(*arguments):
            nonlocal num_rows
            found = method(*arguments)
            rows = list(arguments[1] if found is None else found)
            num_rows += len(rows)
            return found if found is None else rows

        return call

    for name in ("append_logs", "read_logs"):
        monkeypatch.setattr(Journal, name, counted(getattr(Journal, name)))
    monkeypatch.setattr(Journal, "sync", lambda journal: None)
    ledger = Ledger(make_sweep(replace=("sampler: random", "sampler: tpe"), num_trials=80))
    rows_of: list[int] = []
    for run in iter(ledger.next_run, None):
        train(ledger, run, 0.5 + 0.001 * run.number)
        rows_of.append(num_rows)
        num_rows = 0
    assert max(rows_of[-20:]) <= max(rows_of[20:60])
