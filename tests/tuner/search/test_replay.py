"""Replay: curves that ran to the end, through another pruner, end as if that pruner had been there."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuner.conftest import SPACE, row
from tuner.errors import UserError
from tuner.search.ledger import Ledger
from tuner.search.replay import read_pruner, replay_sentences, replay_trials
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.snapshot import read_snapshot

STEPS = 9
PRUNERS = [
    "none",
    "median",
    "{median: {startup_trials: 2}}",
    "{successive_halving: {reduction_factor: 2}}",
    "hyperband",
]


def sweep_of(folder: str | Path, curves: list[list[float]], pruner: str = "none") -> SweepFolder:
    """Return a sweep whose trials reported these curves, one after another, to a pruner."""
    text = SPACE.replace("trials: 4, compute: 3", f"trials: {len(curves)}, compute: {STEPS}")
    text = text.replace("seed: 7", f"seed: 7, pruner: {pruner}").replace("[standard, fgsm_retraining]", "[]")
    sweep = SweepFolder.create("tiny", text, "tiny.yaml", home=Path(folder))
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        reports = [row(step, value) for step, value in enumerate(curves[run.number], start=1)]
        if all(ledger.report(run.key, report) for report in reports[:-1]):
            ledger.complete(run.key, reports[-1])
    return sweep


curves_of = st.lists(st.lists(st.floats(0, 1), min_size=STEPS, max_size=STEPS), min_size=3, max_size=8)


@given(curves=curves_of, pruner=st.sampled_from(PRUNERS))
@settings(max_examples=12, deadline=None)
def test_a_replay_is_what_the_pruner_would_have_done(curves, pruner):
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as live:
        result = replay_trials(read_snapshot(sweep_of(whole, curves), with_rows=True), read_pruner(pruner))
        records = read_records(sweep_of(live, curves, pruner))
        pruned = [record for record in records if record.state == "pruned"]
        assert result.pruned == result.complete_pruned == len(pruned)
        assert result.compute == len(curves) * STEPS
        assert result.compute - result.saved == sum(record.metrics["compute"] for record in records)
        kept = [record.value for record in records if record.state == "complete"]
        assert (result.kept.value if result.kept else None) == max(kept, default=None)
        assert result.censored == 0


@given(curves=curves_of, pruner=st.sampled_from(PRUNERS))
@settings(max_examples=8, deadline=None)
def test_a_sweeps_own_pruner_saves_nothing_more(curves, pruner):
    with tempfile.TemporaryDirectory() as folder:
        result = replay_trials(read_snapshot(sweep_of(folder, curves, pruner), with_rows=True), read_pruner(pruner))
        assert (result.saved, result.censored, result.complete_pruned) == (0, 0, 0)
        assert result.best == result.kept


def test_what_the_sweep_pruned_is_censored(tmp_path):
    curves = [[0.1 * (9 - number) + 0.001 * step for step in range(STEPS)] for number in range(8)]
    sweep = sweep_of(tmp_path, curves, "{successive_halving: {reduction_factor: 2}}")
    result = replay_trials(read_snapshot(sweep, with_rows=True), read_pruner("none"))
    num_pruned = sum(record.state == "pruned" for record in read_records(sweep))
    assert num_pruned > 0
    assert (result.pruned, result.saved, result.censored) == (0, 0, num_pruned)
    assert f"{num_pruned} trials that the sweep pruned it would have trained longer" in " ".join(
        replay_sentences(result)
    )


def test_what_is_lost_is_said(run, tmp_path):
    late = [[0.5] * STEPS, [0.6] * STEPS, [0.7] * STEPS, [*[0.1] * (STEPS - 1), 0.9]]
    sweep_of(tmp_path, late)
    pruner = "{median: {startup_trials: 2}}"
    code, output = run("replay", "tiny", "--home", ".", "--pruner", pruner)
    assert code == 0
    assert "It prunes 1 of 4 trials and saves 7.0 of 36.0 epochs of compute (19 %)." in output
    assert "trial-0003 (robust 0.9000), is lost; the best that is kept is trial-0002 (0.7000)" in output
    told = json.loads(run("replay", "tiny", "--home", ".", "--pruner", pruner, "--format", "json")[1])
    assert (told["best"]["run"], told["kept"]["run"], told["saved"]) == ("trial-0003", "trial-0002", 7.0)


@pytest.mark.parametrize(
    ("pruner", "expected"),
    [
        ("medain", "must be none or one of"),
        ("{median: {startup: 1}}", "median.startup"),
        ("{median: {startup_trials: -1}}", "must be greater than or equal to 0, not -1"),
        ("[", "--pruner ["),
        ("", "must be none or one of"),
    ],
)
def test_a_pruner_that_is_none_is_refused(run, tmp_path, pruner, expected):
    sweep_of(tmp_path, [[0.5] * STEPS])
    code, output = run("replay", "tiny", "--home", ".", "--pruner", pruner)
    assert (code, expected in output) == (2, True), output


def test_without_reports_there_is_nothing_to_replay(make_sweep):
    with pytest.raises(UserError, match="there is nothing to replay"):
        replay_trials(read_snapshot(make_sweep(), with_rows=True), read_pruner("median"))
