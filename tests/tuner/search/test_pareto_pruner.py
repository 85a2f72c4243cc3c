"""Trials of a search with several objectives, compared by all of them while they train."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.study import StudyDirection

from search_spaces.configurations import parse_space
from search_spaces.errors import SpaceError
from tests.tuner.conftest import STEPS, row
from tests.tuner.search.test_samplers import TWO, create, space, train_tradeoff
from tuner.search.ledger import Ledger
from tuner.search.pareto_pruner import ParetoPruner, pareto_ranks
from tuner.search.replay import replay_trials
from tuner.search.sampling.several_objectives import report_attribute
from tuner.sweep.snapshot import read_snapshot

BOTH = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
NAN = float("nan")


def test_ranks_count_the_points_that_are_better_in_all_objectives():
    points = [(0.9, 0.5), (0.8, 0.1), (0.8, 0.6), (0.7, 0.7), (0.9, 0.5), (NAN, 0.0)]
    assert pareto_ranks(points, BOTH).tolist() == [0, 0, 3, 4, 0, 5]


def test_ranks_of_many_points_are_those_of_a_simple_count():
    dice = random.Random(0)
    points = [(dice.randint(0, 40), dice.randint(0, 40)) for _ in range(1100)]

    def dominates(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one[0] >= other[0] and one[1] <= other[1] and one != other

    some = range(0, 1100, 97)
    ranks = pareto_ranks(points, BOTH)
    assert [ranks[number] for number in some] == [
        sum(dominates(other, points[number]) for other in points) for number in some
    ]


class Reports:
    """A study that is searched beside one that prunes."""

    def __init__(self, factor: int | None, first: int = 1, num_startup: int = 0) -> None:
        self.search = optuna.create_study(directions=BOTH)
        pruner = ParetoPruner(self.search, first, factor, num_startup)
        self.pruning = optuna.create_study(pruner=pruner)

    def stops(self, *points: tuple[float, float]) -> bool:
        """Run one trial with these reports; return whether it is stopped after one of them."""
        trial, watched = self.search.ask(), self.pruning.ask()
        for step, point in enumerate(points, 1):
            trial.set_user_attr(report_attribute(step), point)
            watched.report(point[0], step)
            if watched.should_prune():
                self.search.tell(trial, state=optuna.trial.TrialState.PRUNED)
                self.pruning.tell(watched, state=optuna.trial.TrialState.PRUNED)
                return True
        self.search.tell(trial, points[-1])
        self.pruning.tell(watched, points[-1][0])
        return False


def test_what_is_dominated_by_the_best_third_is_stopped_and_the_front_never():
    reports = Reports(factor=3)
    assert not reports.stops((0.5, 0.5))
    assert not reports.stops((0.9, 0.9))
    assert not reports.stops((0.1, 0.1))
    assert reports.stops((0.4, 0.6))  # behind the first
    assert not reports.stops((0.6, 0.4))  # dominates it
    assert not reports.stops((0.95, 0.8))
    assert reports.stops((NAN, 0.5))


def test_trials_are_compared_at_rungs_alone():
    reports = Reports(factor=3, first=2)
    for _ in range(3):
        assert not reports.stops((0.5, 0.5), (0.9, 0.1), (0.9, 0.1), (0.9, 0.1), (0.9, 0.1), (0.9, 0.1))
    assert not reports.stops((0.1, 0.9))
    assert reports.stops((0.9, 0.1), (0.1, 0.9))
    assert not reports.stops((0.9, 0.1), (0.9, 0.1), (0.1, 0.9), (0.1, 0.9), (0.1, 0.9))
    assert reports.stops(*[(0.9, 0.1)] * 5, (0.1, 0.9))


def test_the_median_stops_what_is_behind_half_after_the_first_trials():
    reports = Reports(factor=None, num_startup=3)
    assert not any(reports.stops(point, point) for point in [(0.9, 0.1), (0.8, 0.2), (0.1, 0.9)])
    assert reports.stops((0.7, 0.3), (0.7, 0.3))
    assert not reports.stops((0.95, 0.5), (0.95, 0.5))


@pytest.mark.parametrize("pruner", ["{successive_halving: {min_resource: 1, reduction_factor: 2}}", "median"])
def test_a_search_keeps_both_ends_of_its_front(tmp_path, pruner):
    search = f"sampler: random, pruner: {pruner}, prune_on: pareto"
    ledger = Ledger(create(tmp_path, space(search, TWO).replace("trials: 12", "trials: 30")))
    train_tradeoff(ledger)  # no trial dominates another, so none may be stopped
    assert {record.state for record in ledger.records.values()} == {"complete"}


@pytest.mark.parametrize("pruner", ["{successive_halving: {min_resource: 1, reduction_factor: 2}}", "median"])
def test_replaying_the_pruner_of_a_sweep_stops_what_it_has_stopped(tmp_path, pruner):
    search = f"sampler: random, pruner: {pruner}, prune_on: pareto"
    sweep = create(tmp_path, space(search, TWO).replace("trials: 12", "trials: 30"))
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):  # small batches are worse in both objectives
        share = run.settings["clean_weight"] * (1.0 if run.settings["batch_size"] == 64 else 0.5)
        reports = [row(step, step * share / STEPS) | {"watch/clean": share} for step in range(1, STEPS + 1)]
        if all(ledger.report(run.key, report) for report in reports[:-1]):
            ledger.complete(run.key, reports[-1] | {"clean": share})
    stopped = sum(record.state == "pruned" for record in ledger.records.values())
    replayed = replay_trials(read_snapshot(sweep, with_rows=True), sweep.space.search.pruner)
    assert 0 < stopped < 30
    assert (replayed.pruned, replayed.complete_pruned, replayed.censored) == (stopped, 0, 0)


@pytest.mark.parametrize(
    ("search", "objective", "says"),
    [
        ("prune_on: pareto", "", "there is one: leave it out"),
        ("pruner: hyperband, prune_on: pareto", TWO, "not with hyperband"),
        ("prune_on: paretto", TWO, "paretto"),
    ],
)
def test_pareto_where_it_cannot_be_is_a_mistake_with_its_line(search, objective, says):
    with pytest.raises(SpaceError, match=says) as caught:
        parse_space(space(search, objective), "a.yaml")
    assert str(caught.value).startswith("a.yaml:5: search.prune_on: ")


def test_a_space_with_pareto_names_a_metric_for_what_shows_one():
    read = parse_space(space("prune_on: pareto", TWO), "a.yaml")
    assert read.prunes_by_pareto_rank
    assert (read.prune_on.metric, read.prunes_on_its_objective) == ("watch/robust", False)
