"""A snapshot: what it holds, and that a command reads each file of a sweep once."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.tuner.conftest import STEPS, row, train, train_all
from tuner.search.confirmation import make_plan
from tuner.search.confirmation_ledger import ConfirmLedger
from tuner.search.ledger import Ledger
from tuner.sweep.confirmation import read_confirmation
from tuner.sweep.evaluations import EvaluationResults
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics
from tuner.sweep.snapshot import read_snapshot

_lists: list[list[Path]] = []  # of the tests that count right now


def _on_event(event: str, arguments: tuple) -> None:
    if _lists and event == "open" and isinstance(arguments[0], str) and "r" in (arguments[1] or "r"):
        _lists[-1].append(Path(arguments[0]))


sys.addaudithook(_on_event)  # sees every open of this process, by whatever function; a hook cannot be removed


@pytest.fixture
def opened():
    """Return the list of the files that this process opens to read from here on."""
    _lists.append([])
    yield _lists[-1]
    _lists.pop()


@pytest.fixture
def confirmed(make_sweep):
    """A sweep that has been searched and confirmed, with evaluations on test images."""
    from tuner.results.confirmation import write_confirmation

    sweep = make_sweep()
    train_all(Ledger(sweep))
    plan = make_plan(sweep, top=2, num_seeds=2)
    ledger = ConfirmLedger(sweep, plan)
    for run in iter(ledger.next_run, None):
        train(ledger, run, 0.5 + 0.1 * run.number)
        results = EvaluationResults(
            tier="rank", dataset="digits", split="test", images=1000, epsilon=0.3, metrics=row(STEPS, 0.5)
        )
        (run.folder / "test.json").write_text(results.model_dump_json())
    write_confirmation(sweep, plan, list(ledger.records.values()), "rank", ledger.record_result)
    return sweep


@pytest.mark.parametrize(
    "command",
    [
        ["compare", "tiny"],
        ["compare", "tiny", "--format", "json"],
        ["compare", "tiny", "--picture", "picture.png"],
        ["trials", "tiny"],
        ["status", "tiny"],
        ["status"],
        ["replay", "tiny", "--pruner", "median"],
    ],
    ids=" ".join,
)
def test_a_command_reads_each_file_of_a_sweep_once(confirmed, run, command, opened):
    metrics_files = set(confirmed.folder.rglob("metrics.jsonl"))
    assert len(metrics_files) == 6 + 8
    opened.clear()
    code, output = run(*command, "--home", str(confirmed.folder.parent))
    assert code == 0, output
    times = Counter(path for path in opened if confirmed.folder in path.parents)
    assert times[confirmed.journal] in (1, 2)  # one of them for a look at its lock
    assert times[confirmed.folder / "confirm.json"] == 1
    assert {path: times[path] for path in metrics_files} == dict.fromkeys(metrics_files, 1)


def test_a_snapshot_holds_what_the_readers_of_single_files_return(confirmed):
    snapshot = read_snapshot(confirmed, with_rows=True, with_evaluations=True)
    assert list(snapshot.records) == read_records(confirmed)
    assert list(snapshot.confirming_records) == read_records(confirmed, ["confirm"])
    records = (*snapshot.records, *snapshot.confirming_records)
    assert snapshot.rows == {record.run.key: read_metrics(record.run) for record in records}
    assert (snapshot.state, snapshot.reason, snapshot.driver) == ("completed", "", None)
    assert snapshot.best.run.key == "trial-0003"
    assert snapshot.confirmation == read_confirmation(confirmed)
    assert snapshot.evaluations == {}


def test_without_rows_the_records_are_the_same(confirmed):
    snapshot = read_snapshot(confirmed)
    assert snapshot.rows == {}
    assert snapshot.records == read_snapshot(confirmed, with_rows=True).records


def test_an_empty_sweep_and_one_that_is_driven(make_sweep):
    sweep = make_sweep()
    snapshot = read_snapshot(sweep)
    assert (snapshot.records, snapshot.best, snapshot.state) == ((), None, "interrupted")
    with sweep.lock():
        ledger = Ledger(sweep)
        ledger.give_up("the disk is full")
        snapshot = read_snapshot(sweep)
        assert (snapshot.state, snapshot.driver.pid > 0, snapshot.driven_since > 0) == ("running", True, True)
        assert read_snapshot(sweep, is_locked=False).state == "failed"
    assert (read_snapshot(sweep).state, read_snapshot(sweep).reason) == ("failed", "the disk is full")


def test_an_unfinished_run_that_has_lost_its_last_report_is_noticed(make_sweep):
    sweep = make_sweep(replace=("baselines: [standard, fgsm_retraining]\n", ""))
    ledger = Ledger(sweep)
    run = ledger.next_run()
    for step in (1, 2):
        ledger.report(run.key, row(step, 0.5))
    assert read_snapshot(sweep, is_locked=False).problems == ()
    path = run.folder / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    (problem,) = read_snapshot(sweep, is_locked=False).problems
    assert "cannot be used: the last report in it is 1, and by the study it was 2" in problem
    assert read_snapshot(sweep, is_locked=True).problems == ()  # a driver may be training it up to there
    assert Ledger(sweep).next_run() == run


def test_metrics_and_evaluations_of_an_earlier_release_are_not_taken_for_those_of_this_one(make_sweep):
    """They have no checksum, and do not say of which run they are; the objective is the same."""
    sweep = make_sweep()
    train_all(Ledger(sweep))
    before = read_snapshot(sweep, with_evaluations=True)
    assert before.problems == ()
    records = before.records[:2]
    rows = [{**row, "clean_accuracy": 0.99} for row in read_metrics(records[0].run)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (records[0].run.folder / "metrics.jsonl").write_text(lines)
    results = {"dataset": "digits", "split": "test", "images": 9, "epsilon": 0.3, "metrics": {}}
    (records[1].run.folder / "final.json").write_text(json.dumps(results))
    problems = read_snapshot(sweep, with_evaluations=True).problems
    assert ["it has no checksums" in problems[0], "does not say of which run it is" in problems[1]] == [True, True]


def test_a_sweep_file_from_before_more_trials_were_asked_for_is_an_older_copy(make_sweep, run, tmp_path):
    sweep = make_sweep()
    older = (sweep.folder / "sweep.json").read_bytes()
    with sweep.lock():
        train_all(Ledger(sweep))
        sweep = sweep.extended(9)
        ledger = Ledger(sweep)
        train(ledger, ledger.next_run())
    (sweep.folder / "sweep.json").write_bytes(older)
    words = "asks for 4 trials, and by the study it was 9: it is an older copy"
    for command in ("status", "compare", "trials", "verify", "resume"):
        code, said = run(command, "tiny", "--home", str(tmp_path))
        assert (code, words in " ".join(said.split())) == (2, True), (command, said)
    stale = SweepFolder.open("tiny", home=tmp_path)
    with stale.lock():
        assert len(train_all(Ledger(stale.extended(9)))) == 4
    assert run("status", "tiny", "--home", str(tmp_path))[0] == 0


def test_a_driver_that_ends_before_its_study_knows_of_more_trials_leaves_no_damage(make_sweep, run, tmp_path):
    sweep = make_sweep()
    with sweep.lock():
        train_all(Ledger(sweep))
        sweep.extended(9)
    assert run("status", "tiny", "--home", str(tmp_path))[0] == 0
