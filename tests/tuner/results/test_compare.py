"""Comparison, picture and live lines from a sweep's folder."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from search_spaces.sections import Budget
from tests.tuner.conftest import SEEDED, SPACE, STEPS, row, train_all
from tuner.errors import UserError
from tuner.results.compare import comparison_sentences, rank_runs
from tuner.results.frames import runs_frame
from tuner.results.pictures.draw import draw_comparison
from tuner.results.selection import choose_run
from tuner.results.terminal.comparison import comparison_table, seeds_table
from tuner.results.terminal.live import LiveTable, progress, watch_sweep
from tuner.results.terminal.output import print_table
from tuner.search.ledger import Ledger
from tuner.search.repeats import group_repeats
from tuner.sweep.folder import SweepFolder
from tuner.sweep.snapshot import read_snapshot
from tuner.sweep.status import format_duration


def shown(table) -> str:
    console = Console(file=io.StringIO(), width=140)
    print_table(table, console)
    return console.file.getvalue()


@pytest.fixture
def trained(make_sweep):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    return sweep


def test_the_frame_has_a_row_for_each_run_best_first(trained):
    rows = runs_frame(rank_runs(read_snapshot(trained)))
    assert rows["run"].iloc[0] == "trial-0003"
    assert len(rows) == 6
    assert list(rows["robust"]) == sorted(rows["robust"], reverse=True)
    assert rows["settings.classifier.architecture"].unique().tolist() == ["small_cnn"]


def test_the_table_marks_the_best_and_has_every_measure(trained):
    text = shown(comparison_table(read_snapshot(trained)))
    assert "trial-0003 *" in text
    for heading in ("clean", "FGSM", "PGD", "robust", "95 %", "compute", "seconds"):
        assert heading in text


def test_a_run_that_nobody_works_on_is_unfinished_and_baselines_have_their_names(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    ledger.report(ledger.next_run().key, row(1))
    words = shown(comparison_table(read_snapshot(sweep))).split()
    assert "unfinished" in words
    assert "running" not in words
    assert "standard" in words
    assert "baseline-standard" not in words
    with sweep.lock():
        assert "running" in shown(comparison_table(read_snapshot(sweep))).split()


def test_of_equal_trials_the_best_is_the_one_with_the_better_clean_accuracy(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    clean = [0.7, 0.9, 0.8, 0.9]
    for run in iter(ledger.next_run, None):
        ledger.complete(run.key, row(STEPS, 0.5, clean=clean[run.number] if run.kind == "trial" else 0.1))
    snapshot = read_snapshot(sweep)
    assert snapshot.best.run.key == "trial-0001"
    ordered = ["trial-0001", "trial-0003", "trial-0002", "trial-0000", "baseline-standard", "baseline-fgsm_retraining"]
    assert [record.run.key for record in rank_runs(snapshot)] == ordered
    assert [group.first.run.key for group in group_repeats(snapshot.space, snapshot.records)] == ordered
    assert "The top 4 are not distinguishable: the lead of trial-0001" in " ".join(comparison_sentences(snapshot))


def test_the_verdict_compares_with_each_baseline_and_claims_nothing(trained):
    lines = comparison_sentences(read_snapshot(trained))
    assert "against standard: +30.0 points" in lines[0]
    assert "against fgsm_retraining: +20.0 points" in lines[1]
    assert "not a claim" in lines[-1]


def test_an_empty_sweep_can_be_compared(make_sweep, tmp_path):
    sweep = make_sweep()
    assert comparison_sentences(read_snapshot(sweep)) == ["No trial has run to the end yet."]
    assert draw_comparison(read_snapshot(sweep, with_rows=True), tmp_path / "none.png") is None
    print_table(comparison_table(read_snapshot(sweep)), Console(file=io.StringIO()))
    assert runs_frame(rank_runs(read_snapshot(sweep))).empty


def test_what_is_masked_is_shown_and_when_no_trial_counts_that_is_said(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        ledger.complete(run.key, row(STEPS, masking_failures=float(run.kind == "trial")))
    assert shown(comparison_table(read_snapshot(sweep))).count("masked") == 4
    assert comparison_sentences(read_snapshot(sweep)) == [
        "No trial is feasible: of 4 that ran to the end, 4 masked (they failed gradient-masking checks)."
    ]
    with pytest.raises(UserError, match=r"4 masked .* --run exports another"):
        choose_run(read_snapshot(sweep), None)
    assert choose_run(read_snapshot(sweep), "0").run.key == "trial-0000"
    assert list(runs_frame(rank_runs(read_snapshot(sweep)))["masking_failures"]) == [0.0] * 2 + [1.0] * 4


@pytest.fixture
def repeated(make_sweep):
    """Two points, two seeds; the second point is 10 points better, the second seed of everything 2."""
    sweep = make_sweep(replace=SEEDED)
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        robust = 0.5 + 0.1 * (run.number % 2) + 0.02 * (run.number // 2) + 0.2 * (run.kind == "trial")
        masked = float(run.key == "baseline-fgsm_retraining.seed8")
        ledger.complete(run.key, row(STEPS, robust, masking_failures=masked))
    return sweep


def test_repeats_are_one_row_with_mean_and_range(repeated):
    assert [(one.name, one.outcomes) for one in group_repeats(repeated.space, read_snapshot(repeated).records)] == [
        ("trial-0001", "2 complete"),
        ("trial-0000", "2 complete"),
        ("fgsm_retraining", "1 complete, 1 masked"),
        ("standard", "2 complete"),
    ]
    text = shown(seeds_table(read_snapshot(repeated)))
    for spread in ("81.0 (80.0-82.0)", "71.0 (70.0-72.0)", "61.0 (60.0-62.0)", "51.0 (50.0-52.0)"):
        assert text.count(spread) == 4


def test_a_verdict_over_seeds_is_in_pairs(repeated):
    lines = comparison_sentences(read_snapshot(repeated))
    assert lines[:2] == [
        "Best: trial-0001 (gan 2:1) against fgsm_retraining: "
        "+20.0 points of robust accuracy (+20.0 to +20.0; pairs: 2)",
        "Best: trial-0001 (gan 2:1) against standard: +30.0 points of robust accuracy (+30.0 to +30.0; pairs: 2)",
    ]
    assert "pairs of equal seeds" in lines[2]


@given(ended=st.sets(st.integers(0, 7)), extended=st.booleans())
@settings(max_examples=10, deadline=None)
def test_every_run_is_in_one_configuration_whatever_has_ended(ended, extended):
    with tempfile.TemporaryDirectory() as folder:
        text = SPACE.replace(*SEEDED)
        sweep = SweepFolder.create("tiny", text, "tiny.yaml", home=Path(folder), num_trials=6 if extended else None)
        ledger = Ledger(sweep)
        for place, run in enumerate(iter(ledger.next_run, None)):
            if place in ended:
                ledger.complete(run.key, row(STEPS, 0.1 * place))
        snapshot = read_snapshot(sweep)
        groups = group_repeats(sweep.space, snapshot.records)
        keys = [record.run.key for one in groups for record in one.records]
        assert sorted(keys) == sorted(record.run.key for record in snapshot.records)
        for one in groups:
            assert len({record.run.settings["seed"] for record in one.records}) == len(one.records)
            assert len({record.run.label for record in one.records}) == 1
        assert sum(len(one.values("compute")) for one in groups) == len(ended)
        shown(seeds_table(snapshot))
        comparison_sentences(snapshot)


def test_the_picture_is_a_png(trained, tmp_path):
    target = draw_comparison(read_snapshot(trained, with_rows=True), tmp_path / "picture.png")
    assert target is not None
    assert target.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("key", "chosen"),
    [(None, "trial-0003"), ("2", "trial-0002"), ("trial-0001", "trial-0001"), ("standard", "baseline-standard")],
)
def test_runs_are_chosen_by_any_of_their_names(trained, key, chosen):
    assert choose_run(read_snapshot(trained), key).run.key == chosen


def test_a_repeated_baseline_is_chosen_by_its_seed(repeated):
    assert choose_run(read_snapshot(repeated), "standard.seed8").run.key == "baseline-standard.seed8"
    assert choose_run(read_snapshot(repeated), "standard").run.settings["seed"] == 7


def test_choosing_what_is_not_there_names_the_runs(trained):
    with pytest.raises(UserError, match="trial-0003"):
        choose_run(read_snapshot(trained), "17")


def test_choosing_what_has_not_ended_is_refused(make_sweep):
    sweep = make_sweep()
    Ledger(sweep).next_run()
    with pytest.raises(UserError, match="is unfinished; it must be complete"):
        choose_run(read_snapshot(sweep), "standard")
    with pytest.raises(UserError, match="tuner resume tiny"):
        choose_run(read_snapshot(sweep), None)


BUDGET = Budget(trials=4, compute=3.0)


def test_lines_where_there_is_no_terminal(make_sweep):
    console = Console(file=io.StringIO(), width=80)
    ledger = Ledger(make_sweep())
    with LiveTable(ledger, console, budget=BUDGET, mode="max") as live:
        assert progress(ledger, BUDGET) == 0
        train_all(ledger)
        for record in ledger.records.values():
            live.changed(record)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 6
    assert "trial-0003" in lines[-1]
    assert "6 of 6 runs ended, best trial-0003 40.0" in lines[-1]
    assert progress(ledger, BUDGET) == 1


@pytest.mark.parametrize(
    ("other", "share"),
    [({}, 3 / 6), ({"total_compute": 4.0}, 3 / 4), ({"total_compute": 2.0}, 1.0), ({"time": "900h"}, 3 / 6)],
)
def test_progress_is_that_of_the_budget_nearest_to_its_end(make_sweep, other, share):
    ledger = Ledger(make_sweep())
    for run in [ledger.next_run() for _ in range(3)]:
        ledger.complete(run.key, row(STEPS))
    assert progress(ledger, Budget(compute=3.0, **other)) == share


def test_a_reason_with_brackets_is_a_line_like_any_other(make_sweep):
    console = Console(file=io.StringIO(), width=80)
    ledger = Ledger(make_sweep())
    run = ledger.next_run()
    ledger.fail(run.key, "error: KeyError: [/bold] in [list]")
    LiveTable(ledger, console, budget=BUDGET, mode="max").changed(ledger.records[run.key])
    assert "KeyError: [/bold] in [list]" in console.file.getvalue()


def test_a_table_where_there_is_one(make_sweep):
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    ledger = Ledger(make_sweep())
    with LiveTable(ledger, console, budget=BUDGET, mode="max") as live:
        train_all(ledger)
        for record in ledger.records.values():
            live.changed(record)
    assert "fgsm_retraining" in console.file.getvalue()


def test_watching_a_sweep_that_nobody_works_on_calls_its_open_runs_unfinished(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    ledger.report(ledger.next_run().key, row(1))
    for force_terminal in (False, True):
        console = Console(file=io.StringIO(), width=140, force_terminal=force_terminal)
        watch_sweep(sweep, console)
        said = console.file.getvalue()
        assert "running" not in said.splitlines()[-1]
        assert " unfinished " in said


@pytest.mark.parametrize(("seconds", "text"), [(4, "4 s"), (100, "2 min"), (7800, "2 h 10 min")])
def test_durations_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text
