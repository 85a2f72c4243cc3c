"""The ledger without Ray: what is handed out, what is written when, and what a crash at any moment leaves."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.configurations import parse_space
from tests.tuner.conftest import SEEDED, SPACE, STEPS, row, train, train_all
from tuner.search.ledger import Ledger
from tuner.storage.journal import Journal
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best, explain_no_best
from tuner.sweep.reader import read_records
from tuner.sweep.runs import append_metrics, read_metrics

PRUNED_SPACE = (
    "search: {sampler: random, seed: 7}",
    "search: {sampler: random, seed: 7, pruner: {successive_halving: {min_resource: 1, reduction_factor: 2}}}",
)

KINDS = ("baseline", "trial")


def test_baselines_come_first_then_as_many_trials_as_asked(make_sweep):
    ledger = Ledger(make_sweep())
    assert train_all(ledger) == [
        "baseline-standard",
        "baseline-fgsm_retraining",
        *(f"trial-{number:04d}" for number in range(4)),
    ]
    assert ledger.is_complete
    assert not ledger.is_interrupted


def test_settings_are_complete_and_inside_the_space(make_sweep):
    ledger = Ledger(make_sweep())
    while (run := ledger.next_run()) is not None:
        assert run.settings["dataset"] == {"name": "digits", "validation": 200}
        assert run.settings["compute"] == 3
        if run.kind == "trial":
            assert 1e-4 <= run.settings["generator"]["learning_rate"] <= 1e-2
            assert run.settings["ratio"]["kind"] in ("constant", "adaptive")


def test_trials_have_seeds_of_their_own_and_sweeps_repeat(make_sweep):
    first, second = Ledger(make_sweep("one")), Ledger(make_sweep("two"))
    train_all(first)
    train_all(second)
    runs = [[record.run.settings for record in ledger.records.values()] for ledger in (first, second)]
    assert runs[0] == runs[1]
    seeds = [record.run.settings["seed"] for record in first.records.values() if record.run.kind == "trial"]
    assert len(set(seeds)) == 4


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_resumed_sweep_tries_what_an_uninterrupted_one_would(make_sweep, sampler):
    search = ("search: {sampler: random, seed: 7}", f"search: {{sampler: {sampler}, seed: 7}}")
    whole, parts = (make_sweep(name, replace=search, num_trials=16) for name in ("whole", "parts"))
    train_all(Ledger(whole))
    while not (ledger := Ledger(parts)).is_complete:
        run = ledger.next_run()
        train(ledger, run, robust=0.1 * (run.number + 1))
    settings = [[record.run.settings for record in read_records(sweep)] for sweep in (whole, parts)]
    assert settings[0] == settings[1]


def test_reading_needs_no_open_ledger_and_says_the_same(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    train_all(ledger)
    read = {record.run.key: record for record in read_records(sweep)}
    for key, record in ledger.records.items():
        assert read[key].state == record.state == "complete"
        assert read[key].value == record.value
        assert {name: read[key].metrics[name] for name in record.metrics} == record.metrics


def test_a_pruned_trial_is_told_pruned_and_its_place_is_not_given_again(make_sweep):
    sweep = make_sweep(replace=PRUNED_SPACE, num_trials=6)
    ledger = Ledger(sweep)
    while (run := ledger.next_run()) is not None:
        train(ledger, run, robust=0.9 - 0.1 * run.number)
    states = {record.run.key: record.state for record in read_records(sweep)}
    assert "pruned" in states.values()
    assert states["trial-0000"] == "complete"
    assert states["baseline-standard"] == states["baseline-fgsm_retraining"] == "complete"
    assert len(states) == 8
    pruned = [record for record in read_records(sweep) if record.state == "pruned"]
    assert all(record.value is None and record.metrics for record in pruned)


def test_a_failed_run_keeps_its_reason_and_is_never_best(make_sweep):
    sweep = make_sweep(num_trials=1)
    ledger = Ledger(sweep)
    keys = [run.key for run in iter(ledger.next_run, None)]
    for key in keys:
        ledger.fail(key, "diverged: classifier_loss is nan")
    assert ledger.is_complete
    assert {record.reason for record in read_records(sweep)} == {"diverged: classifier_loss is nan"}
    assert best(read_records(sweep), "max") is None


def test_an_infeasible_trial_is_never_best(make_sweep):
    constraint = ("baselines:", "constraints: {clean: {min: 0.5}}\nbaselines:")
    sweep = make_sweep(replace=constraint, num_trials=2)
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        clean = 0.4 if run.key == "trial-0000" else 0.9
        robust = 0.8 if run.key == "trial-0000" else 0.3
        ledger.complete(run.key, row(STEPS, robust, clean=clean))
    records = read_records(sweep)
    assert not next(record for record in records if record.run.key == "trial-0000").feasible
    winner = best(records, "max")
    assert winner is not None
    assert winner.run.key == "trial-0001"


def test_a_sweep_can_be_extended(make_sweep):
    sweep = make_sweep(num_trials=2)
    train_all(Ledger(sweep))
    assert train_all(Ledger(sweep.extended(5))) == ["trial-0002", "trial-0003", "trial-0004"]
    assert SweepFolder.open("tiny", home=sweep.folder.parent).num_trials == 5


def test_grid_tries_every_point_once_with_each_seed(make_sweep):
    space = (
        SPACE[SPACE.index("budget") :],
        "budget: {compute: 3}\nsearch: {sampler: grid, seed: 3}\nseeds: 2\nbaselines: []\n"
        "parameters:\n  ratio:\n    kind: {choice: [constant, stepped]}\n"
        "    generator_turns: {choice: [1, 2], when: {kind: constant}}\n",
    )
    ledger = Ledger(make_sweep(replace=space))
    train_all(ledger)
    ratios = [record.run.settings["ratio"] for record in ledger.records.values()]
    seeds = [record.run.settings["seed"] for record in ledger.records.values()]
    points = [(ratio["kind"], ratio["generator_turns"] if ratio["kind"] == "constant" else None) for ratio in ratios]
    assert sorted(map(str, points[:3])) == sorted(map(str, {("constant", 1), ("constant", 2), ("stepped", None)}))
    assert points[:3] == points[3:]
    assert seeds == [3, 3, 3, 4, 4, 4]


def test_baselines_of_a_grid_have_the_seeds_of_its_points(make_sweep):
    sweep = make_sweep(replace=SEEDED)
    ledger = Ledger(sweep)
    assert ledger.num_runs == 8
    assert train_all(ledger)[:4] == [
        "baseline-standard",
        "baseline-fgsm_retraining",
        "baseline-standard.seed8",
        "baseline-fgsm_retraining.seed8",
    ]
    seeds = {kind: [r.run.settings["seed"] for r in read_records(sweep) if r.run.kind == kind] for kind in KINDS}
    assert seeds == {"baseline": [7, 7, 8, 8], "trial": [7, 7, 8, 8]}
    settings = {record.run.key: record.run.settings for record in read_records(sweep)}
    assert {**settings["baseline-standard"], "seed": 8} == settings["baseline-standard.seed8"]
    assert len({record.run.folder for record in read_records(sweep)}) == 8


def test_a_grid_cut_short_repeats_no_baseline_until_it_is_extended(make_sweep):
    sweep = make_sweep(replace=SEEDED, num_trials=2)
    assert len(train_all(Ledger(sweep))) == 4
    assert train_all(Ledger(sweep.extended(3))) == [
        "baseline-standard.seed8",
        "baseline-fgsm_retraining.seed8",
        "trial-0002",
    ]


def test_a_sweep_whose_baselines_ran_with_one_seed_opens_and_gets_the_others(make_sweep):
    one_seed = (SEEDED[0], SEEDED[1].replace("seeds: 2", "seeds: 1"))
    sweep = make_sweep(replace=one_seed, num_trials=4)
    assert len(train_all(Ledger(sweep))) == 6
    sweep = replace(sweep, space=parse_space(SPACE.replace(*SEEDED), "space.yaml"))
    assert train_all(Ledger(sweep)) == ["baseline-standard.seed8", "baseline-fgsm_retraining.seed8"]
    assert Ledger(sweep).is_complete


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_masked_trial_is_infeasible_and_never_best(make_sweep, sampler):
    sweep = make_sweep(replace=("sampler: random", f"sampler: {sampler}"), num_trials=12)
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        failures = {"trial-0000": 2.0, "baseline-fgsm_retraining": 1.0}.get(run.key, 0.0)
        robust = 0.9 if failures else 0.02 * run.number
        ledger.complete(run.key, row(STEPS, robust, masking_failures=failures))
    for records in (read_records(sweep), list(ledger.records.values())):
        masked = {record.run.key for record in records if record.is_masked}
        assert masked == {"trial-0000", "baseline-fgsm_retraining"}
        assert {record.run.key for record in records if not record.feasible} == masked
        assert best(records, "max").run.key == "trial-0011"
        assert {record.outcome for record in records} == {"masked", "complete"}


def test_it_is_said_why_no_trial_is_best(make_sweep):
    constraint = ("baselines:", "constraints: {clean: {min: 0.5}}\nbaselines:")
    sweep = make_sweep(replace=constraint, num_trials=3)
    ledger = Ledger(sweep)
    assert explain_no_best(read_records(sweep)) == "No trial has run to the end yet."
    for run in iter(ledger.next_run, None):
        masked = float(run.key == "trial-0001")
        ledger.complete(run.key, row(STEPS, 0.3 + 0.4 * masked, masking_failures=masked))
    assert best(read_records(sweep), "max") is None
    expected = (
        "No trial is feasible: of 3 that ran to the end, 1 masked (they failed gradient-masking checks) "
        "and 2 outside a constraint."
    )
    assert explain_no_best(read_records(sweep)) == expected


def test_known_configurations_are_tried_first(make_sweep):
    first = ("parameters:", "first:\n  - {ratio: {kind: constant, generator_turns: 3}}\nparameters:")
    ledger = Ledger(make_sweep(replace=first))
    train_all(ledger)
    ratio = ledger.records["trial-0000"].run.settings["ratio"]
    assert (ratio["kind"], ratio["generator_turns"]) == ("constant", 3)


@pytest.mark.parametrize("tail", [b'{"op_code": 4, "worker', b"\x00\xff", b"{"])
def test_a_torn_last_line_of_the_journal_is_cut_back(make_sweep, tail):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    with sweep.journal.open("ab") as file:
        file.write(tail)
    again = Ledger(sweep)
    assert again.records["baseline-standard"].state == "complete"
    assert len(train_all(again)) == 5
    assert Ledger(sweep).is_complete


def test_a_torn_last_line_of_metrics_is_cut_back(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    run = ledger.next_run()
    ledger.report(run.key, row(1))
    with (run.folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"robust": 0.')
    assert [line["step"] for line in read_metrics(run)] == [1]
    again = Ledger(sweep)
    assert again.next_run().key == run.key
    again.report(run.key, row(1))
    again.report(run.key, row(2))
    assert [line["step"] for line in read_metrics(run)] == [1, 2]


class Crash(BaseException):
    """The driver dies here."""


@settings(max_examples=40, deadline=None)
@given(crashes=st.lists(st.integers(0, 40), max_size=5), changes=st.sampled_from([("", ""), PRUNED_SPACE, SEEDED]))
def test_crashes_at_any_write_lose_nothing_and_double_nothing(crashes, changes):
    """A driver that dies before some append to the journal or to the metrics, again and again."""
    with tempfile.TemporaryDirectory() as folder:
        text = SPACE.replace(*changes).replace("baselines:", "constraints: {clean: {min: 0.25}}\nbaselines:")
        sweep = SweepFolder.create("tiny", text, "tiny.yaml", home=Path(folder))
        ended: dict[str, str] = {}
        checkpoints: dict[str, int] = {}
        for writes in [*crashes, None]:
            _drive(sweep, ended, checkpoints, writes)
        records = read_records(sweep)
        assert sorted(record.run.key for record in records) == sorted(ended)
        kinds = Counter(record.run.kind for record in records)
        assert kinds == {"trial": 4, "baseline": 4 if changes is SEEDED else 2}
        masked = {record.run.key for record in records if record.is_masked}
        assert masked == {record.run.key for record in records if record.run.number == 3 and record.value is not None}
        assert Ledger(sweep).is_complete
        assert {record.run.key: record.state for record in records} == ended
        for record in records:
            steps = [line["step"] for line in read_metrics(record.run)]
            assert steps == list(range(1, len(steps) + 1))
            assert len(steps) == STEPS or record.state == "pruned"


def _drive(sweep: SweepFolder, ended: dict[str, str], checkpoints: dict[str, int], writes: int | None) -> None:
    """Drive until the end or until the given number of writes is used up; workers keep their checkpoints."""
    left = [writes]

    def dying(append):
        def wrapped(*arguments):
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0:
                    raise Crash
            return append(*arguments)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append_logs", dying(Journal.append_logs))
        patch.setattr("tuner.search.open_runs.append_metrics", dying(append_metrics))
        try:
            ledger = Ledger(sweep)
            for run in iter(ledger.next_run, None):
                assert run.key not in ended, "a finished run was handed out again"
                _train_from_checkpoint(ledger, run, checkpoints)
                ended[run.key] = ledger.records[run.key].state
        except Crash:
            for record in read_records(sweep):
                if record.state != "running":
                    ended[record.run.key] = record.state


def _train_from_checkpoint(ledger: Ledger, run, checkpoints: dict[str, int]) -> None:
    robust = 0.1 * (run.number + 1)
    for step in range(max(checkpoints.get(run.key, 1), 1), STEPS):
        checkpoints[run.key] = step
        if not ledger.report(run.key, row(step, robust)):
            return
    checkpoints[run.key] = STEPS
    ledger.complete(run.key, row(STEPS, robust, masking_failures=float(run.number == 3)))
