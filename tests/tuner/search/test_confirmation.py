"""Confirming without Ray: what is planned, who stays in the race, and what a crash at any moment leaves."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuner.conftest import SEEDED, SPACE, STEPS, row, train, train_all
from tuner.errors import UserError
from tuner.search.confirmation import best_configurations, configuration_of, make_plan, read_plan
from tuner.search.confirmation_ledger import ConfirmLedger
from tuner.search.ledger import Ledger
from tuner.storage.journal import Journal
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import append_metrics, read_metrics

ROBUST = {"trial-0003": 0.8, "trial-0002": 0.7, "trial-0001": 0.6}


@pytest.fixture
def searched(make_sweep) -> SweepFolder:
    sweep = make_sweep()
    train_all(Ledger(sweep))
    return sweep


def confirm(ledger: ConfirmLedger, robust=ROBUST, spread: float = 0.0) -> list[str]:
    """Train what the ledger hands out, one by one; return the keys in order."""
    keys = []
    while (run := ledger.next_run()) is not None:
        keys.append(run.key)
        noise = spread * ((hash_of(run.key) % 100) / 50 - 1)
        train(ledger, run, robust.get(run.key.split(".")[0], 0.1) + noise)
    return keys


def hash_of(key: str) -> int:
    return sum(place * ord(letter) for place, letter in enumerate(key, 1))


def test_the_best_and_the_baselines_run_round_by_round_with_fresh_seeds(searched):
    plan = make_plan(searched, top=2, num_seeds=2)
    keys = confirm(ledger := ConfirmLedger(searched, plan))
    names = ["baseline-standard", "baseline-fgsm_retraining", "trial-0003", "trial-0002"]
    assert keys == [f"{name}.seed{seed}" for seed in (100007, 100008) for name in names]
    assert ledger.is_complete
    assert ledger.num_runs == len(keys)
    search = {record.run.settings["seed"] for record in read_records(searched)}
    assert not search & set(plan.seeds)
    records = read_records(searched, ["confirm"])
    assert [record.run.key for record in records] == keys
    settings_of = {one.run.key: one.run.settings for one in read_records(searched)}
    for record in records:
        source = settings_of[configuration_of(record)]
        assert {**record.run.settings, "seed": 0} == {**source, "seed": 0}
        assert record.run.folder == searched.folder / "confirm" / configuration_of(record) / (
            f"seed-{record.run.settings['seed']}"
        )
        assert len(read_metrics(record.run)) == STEPS
    assert len(read_records(searched)) == 6, "the search's own records are as before"


def test_the_space_says_how_many(searched):
    plan = make_plan(searched)
    assert (len(plan.racing), len(plan.seeds)) == (searched.space.confirm.top, searched.space.confirm.seeds)


def test_a_second_call_goes_on_and_a_larger_one_adds_what_is_missing(searched):
    confirm(ConfirmLedger(searched, make_plan(searched, top=1, num_seeds=2, baselines=["standard"])))
    assert confirm(ConfirmLedger(searched, make_plan(searched))) == []
    assert read_plan(searched) == make_plan(searched)
    keys = confirm(ConfirmLedger(searched, make_plan(searched, top=2, num_seeds=3)))
    assert keys == [
        "trial-0002.seed100007",
        "trial-0002.seed100008",
        "baseline-standard.seed100009",
        "trial-0003.seed100009",
        "trial-0002.seed100009",
    ]
    assert "baseline-fgsm_retraining.seed100007" in confirm(
        ConfirmLedger(searched, make_plan(searched, baselines=["fgsm_retraining"]))
    )


@pytest.mark.parametrize("less", [{"top": 1}, {"num_seeds": 2}])
def test_less_than_what_is_being_confirmed_is_refused(searched, less):
    ConfirmLedger(searched, make_plan(searched, top=2, num_seeds=3))
    with pytest.raises(UserError, match="must not be below the"):
        make_plan(searched, **less)


def test_what_cannot_be_confirmed_is_said(make_sweep, searched):
    with pytest.raises(UserError, match="no configuration of 'other' can be confirmed"):
        make_plan(make_sweep("other"))
    with pytest.raises(UserError, match="has no baseline 'pgd'; it has standard, fgsm_retraining"):
        make_plan(searched, baselines=["pgd"])


def test_masked_configurations_are_not_confirmed(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        ledger.complete(run.key, row(STEPS, 0.1 * run.number, masking_failures=float(run.number == 3)))
    best = best_configurations(sweep.space, read_records(sweep))
    assert [one.name for one in best] == [
        "trial-0002",
        "trial-0001",
        "trial-0000",
    ]


def test_repeats_of_one_configuration_are_confirmed_once(make_sweep):
    sweep = make_sweep(replace=SEEDED)
    train_all(Ledger(sweep))
    plan = make_plan(sweep)
    assert [one.name for one in plan.configurations] == [
        "trial-0001",
        "trial-0000",
        "baseline-standard",
        "baseline-fgsm_retraining",
    ]


def test_of_several_objectives_the_front_is_confirmed(make_sweep):
    objectives = "objective: [{metric: clean, mode: max}, {metric: robust, mode: max}]\nbudget:"
    sweep = make_sweep(replace=("budget:", objectives))
    ledger = Ledger(sweep)
    clean = [0.9, 0.95, 0.8, 0.99]
    robust = [0.5, 0.4, 0.45, 0.1]  # the third is beaten by the first
    for run in iter(ledger.next_run, None):
        number = run.number % 4
        ledger.complete(run.key, {**row(STEPS, robust[number]), "clean": clean[number]})
    best = best_configurations(sweep.space, read_records(sweep))
    assert [one.name for one in best] == [
        "trial-0003",
        "trial-0001",
        "trial-0000",
    ]
    assert confirm(ConfirmLedger(sweep, make_plan(sweep, top=1, num_seeds=2, baselines=[])))


def test_who_is_clearly_behind_leaves_and_baselines_never_do(searched):
    ledger = ConfirmLedger(searched, make_plan(searched, num_seeds=4))
    keys = confirm(ledger, {"trial-0003": 0.9, "trial-0002": 0.895, "trial-0001": 0.1}, spread=0.002)
    assert Counter(key.split(".")[0] for key in keys) == {
        "baseline-standard": 4,
        "baseline-fgsm_retraining": 4,
        "trial-0003": 4,
        "trial-0002": 4,
        "trial-0001": 2,
    }
    assert ledger.is_complete
    assert ledger.num_runs == len(keys)


def test_runs_of_who_has_left_are_stopped_and_not_begun_again(searched):
    """The third round of all begins before the second is over: what it shows does not count, and it is stopped."""
    plan = make_plan(searched, num_seeds=4, top=2, baselines=[])
    ledger = ConfirmLedger(searched, plan)
    for _ in range(3):
        train(ledger, ledger.next_run(), robust=0.9 if len(ledger.records) % 2 else 0.2)
    last_of_second, third_of_first = ledger.next_run(), ledger.next_run()
    third_of_last = ledger.next_run()
    assert third_of_last.key == "trial-0002.seed100009"
    assert ledger.report(third_of_last.key, row(1, 0.2))
    train(ledger, last_of_second, robust=0.21)
    assert not ledger.report(third_of_last.key, row(2, 0.2))
    again = ConfirmLedger(searched, plan)
    stopped = next(record for record in read_records(searched, ["confirm"]) if record.run.key == third_of_last.key)
    assert stopped.state == "pruned"
    assert stopped.reason.startswith("behind trial-0003 by ")
    assert again.next_run().key == third_of_first.key
    assert [run.key for run in iter(again.next_run, None)] == ["trial-0003.seed100010"]


@pytest.mark.parametrize("outcome", ["failed", "masked"])
def test_who_fails_or_is_masked_leaves(searched, outcome):
    ledger = ConfirmLedger(searched, make_plan(searched, top=2, num_seeds=2, baselines=[]))
    first = ledger.next_run()
    if outcome == "failed":
        ledger.fail(first.key, "diverged: classifier_loss is nan")
    else:
        ledger.complete(first.key, row(STEPS, 0.9, masking_failures=1.0))
    assert confirm(ledger) == ["trial-0002.seed100007", "trial-0002.seed100008"]
    assert ledger.is_complete


def test_a_run_that_is_put_back_is_handed_out_again(searched):
    ledger = ConfirmLedger(searched, make_plan(searched, num_seeds=2))
    run = ledger.next_run()
    ledger.report(run.key, row(1))
    ledger.requeue(run.key)
    assert ledger.next_run() == run
    train(ledger, run, start=2)
    assert not ledger.is_complete
    assert [line["step"] for line in read_metrics(run)] == [1, 2, 3]


class Crash(BaseException):
    """The driver dies here."""


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> SweepFolder:
    """A sweep that has been searched, to be copied."""
    sweep = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=tmp_path_factory.mktemp("once"))
    train_all(Ledger(sweep))
    return sweep


@settings(max_examples=12, deadline=None)
@given(crashes=st.lists(st.integers(0, 60), max_size=5), spread=st.sampled_from([0.002, 0.3]))
def test_crashes_at_any_write_lose_nothing_and_double_nothing(once, crashes, spread):
    """A driver that dies before some append to the journal or to the metrics, again and again."""
    robust = {"trial-0003": 0.9, "trial-0002": 0.6, "trial-0001": 0.3}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("whole", "parts"):
            shutil.copytree(once.folder, Path(folder) / name)
        whole, parts = (SweepFolder.open(name, home=Path(folder)) for name in ("whole", "parts"))
        confirm(ConfirmLedger(whole, make_plan(whole)), robust, spread)
        ended: set[str] = set()
        for writes in [*crashes, None]:
            _drive(parts, robust, spread, ended, writes)
        assert ConfirmLedger(parts, make_plan(parts)).is_complete
        outcomes = [
            sorted((one.run.key, one.state, one.value, one.feasible) for one in read_records(sweep, ["confirm"]))
            for sweep in (whole, parts)
        ]
        assert outcomes[0] == outcomes[1]
        for record in read_records(parts, ["confirm"]):
            assert [line["step"] for line in read_metrics(record.run)] == [1, 2, 3]


def _drive(sweep: SweepFolder, robust, spread: float, ended: set[str], writes: int | None) -> None:
    """Drive until the end, or until the given number of writes is used up."""
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
            keys = confirm(ConfirmLedger(sweep, make_plan(sweep)), robust, spread)
            assert not ended & set(keys), "a finished run was handed out again"
        except Crash:
            ended |= {one.run.key for one in read_records(sweep, ["confirm"]) if one.state != "running"}
