"""A journal that is lost, or older than the runs' folders: no run goes on from what is not its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.configurations import parse_space
from tests.tuner.conftest import STEPS, row, train, train_all
from tuner.search.confirmation import make_plan
from tuner.search.confirmation_ledger import ConfirmLedger
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Run, read_metrics
from tuner.sweep.snapshot import read_snapshot


def accuracies(sweep: SweepFolder) -> dict[str, list[float]]:
    return {record.run.key: [one["watch/clean"] for one in read_metrics(record.run)] for record in read_records(sweep)}


@pytest.mark.parametrize(
    ("steps", "left", "start"),
    [
        ((1, 2), ["00000001", "00000002"], ""),
        ((2, 3), ["00000002"], "its checkpoint of report 2"),
        ((4, 5), [], "the beg"),
    ],
)
def test_a_run_whose_metrics_are_behind_its_checkpoints_leaves_no_report_out(make_sweep, steps, left, start):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    run = ledger.next_run()
    ledger.report(run.key, row(1))
    for step in steps:
        (run.folder / "checkpoint" / f"{step:08d}").mkdir(parents=True)
    said: list[str] = []
    Ledger(sweep, tell=said.append)
    there = {path.name for path in (run.folder / "checkpoint").iterdir()}
    assert sorted(name for name in there if name.isdecimal()) == left
    assert len(there) == len(steps), "nothing is deleted"
    assert [start in text and "its metrics end with report 1" in text for text in said] == [True] * bool(start)


def test_with_other_settings_every_trial_begins_anew_and_the_old_files_are_kept(make_sweep):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    old = _metrics_files(sweep, "*")
    sweep = _with_another_seed(sweep)
    said: list[str] = []
    ledger = Ledger(sweep, tell=said.append)
    while (run := ledger.next_run()) is not None:
        assert ledger.records[run.key].metrics == {}
        train(ledger, run, robust=0.01)
    assert len(said) == 6
    assert said[2].startswith("trial-0000 begins anew: what lay in its folder is in ")
    assert said[2].endswith("0000.aside-1 now, because it belongs to a run with other settings")
    assert _metrics_files(sweep, "*.aside-1") == old
    assert set(accuracies(sweep)["trial-0003"]) == {0.01}
    assert read_snapshot(sweep).problems == ()


def _metrics_files(sweep: SweepFolder, folders: str) -> dict[str, bytes]:
    files = sweep.folder.glob(f"trials/{folders}/metrics.jsonl")
    return {path.parent.name.removesuffix(".aside-1"): path.read_bytes() for path in files}


def _with_another_seed(sweep: SweepFolder) -> SweepFolder:
    """Return a sweep without its journal, whose space has another seed."""
    sweep.journal.unlink()
    text = (sweep.folder / "space.yaml").read_text().replace("seed: 7", "seed: 8")
    return replace(sweep, space=parse_space(text, "space.yaml"))


def test_with_the_same_settings_every_run_goes_on(make_sweep):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    before = accuracies(sweep)
    sweep.journal.unlink()
    said: list[str] = []
    ledger = Ledger(sweep, tell=said.append)
    while (run := ledger.next_run()) is not None:
        assert ledger.records[run.key].metrics["step"] == STEPS
        ledger.complete(run.key, row(STEPS, before[run.key][-1]))
    assert (said, accuracies(sweep)) == ([], before)


@pytest.mark.parametrize("what", ["settings", "run", "sweep"])
def test_an_unfinished_run_does_not_go_on_from_files_of_another(make_sweep, tmp_path, what):
    sweep, other = make_sweep(), make_sweep("other")
    ledger = Ledger(sweep)
    run = ledger.next_run()
    ledger.report(run.key, row(1, 0.5))
    donor = Ledger(other if what == "sweep" else sweep)
    foreign: Run = donor.next_run()
    if what == "run":
        foreign = donor.next_run()
    donor.report(foreign.key, row(1, 0.9))
    if what == "settings":
        path = sweep.journal
        path.write_text(_unsealed(path.read_text()).replace('"validation": 200', '"validation": 201'))
    else:
        shutil.copy(foreign.folder / "metrics.jsonl", run.folder)
    said: list[str] = []
    again = Ledger(sweep, tell=said.append)
    assert any(line.startswith(f"{run.key} begins anew") for line in said)
    assert again.records[run.key].metrics == {}
    assert (run.folder.with_name(f"{run.folder.name}.aside-1") / "metrics.jsonl").exists()


def _unsealed(text: str) -> str:
    entries = [json.loads(line) for line in text.splitlines()]
    return "".join(json.dumps({key: value for key, value in entry.items() if key != "crc"}) + "\n" for entry in entries)


def test_what_does_not_say_whose_it_is_is_not_taken_by_a_run_that_begins(make_sweep):
    sweep = make_sweep()
    folder = sweep.folder / "baselines" / "standard"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 3, "clean": 0.9}\n')
    (folder / "test.json").write_text("{}")
    said: list[str] = []
    ledger = Ledger(sweep, tell=said.append)
    run = ledger.next_run()
    assert ledger.records[run.key].metrics == {}
    assert "it does not say of which run it is" in said[0]
    assert sorted(path.name for path in folder.with_name("standard.aside-1").iterdir()) == [
        "metrics.jsonl",
        "test.json",
    ]


def test_of_an_older_release_an_unfinished_run_goes_on(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    run = ledger.next_run()
    ledger.report(run.key, row(1, 0.5))
    (run.folder / "metrics.jsonl").write_text('{"step": 1, "clean": 0.5}\n')
    assert Ledger(sweep).records[run.key].metrics == {"step": 1, "clean": 0.5}


def test_the_runs_of_confirming_likewise(make_sweep):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    plan = make_plan(sweep, 1, 2, [])
    ledger = ConfirmLedger(sweep, plan)
    run = ledger.next_run()
    ledger.report(run.key, row(1, 0.5))
    donor = sweep.folder / "trials" / "0000" / "metrics.jsonl"
    shutil.copy(donor, run.folder)
    said: list[str] = []
    again = ConfirmLedger(sweep, plan, tell=said.append)
    assert said[0].startswith(f"{run.key} begins anew: ")
    assert again.records[run.key].metrics == {}
    assert Path(f"{run.folder}.aside-1", "metrics.jsonl").read_bytes() == donor.read_bytes()
