"""`tuner verify`: a line for each damaged file, and an exit code."""

from __future__ import annotations

import json

import pytest

from tests.tuner.conftest import train, train_all
from tuner.search.ledger import Ledger
from tuner.sweep.ranking import best
from tuner.sweep.reader import read_records
from tuner.sweep.snapshot import read_snapshot


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_whole_sweep_has_no_problem(trained_sweep, run, tmp_path):
    code, output = run("verify", "real", "--home", str(tmp_path))
    assert (code, output) == (0, "real: nothing is damaged; 4 runs and 4 checkpoints checked\n")


@pytest.mark.parametrize(
    "name",
    [
        "sweep.json",
        "space.yaml",
        "provenance.json",
        "study.journal",
        "trials/0001/metrics.jsonl",
        "trials/0000/checkpoint/*/state.json",
        "baselines/standard/checkpoint/*/tensors.safetensors",
    ],
)
def test_each_damaged_file_is_named(trained_sweep, run, tmp_path, name):
    path = sorted(trained_sweep.folder.glob(name))[-1]
    flip(path)
    code, output = run("verify", "real", "--home", str(tmp_path), "--format", "json")
    assert code == 2
    problems = json.loads(output[output.index("{") :])["problems"]
    named = path.parent if "checkpoint" in name else path
    assert any(str(named) in problem for problem in problems), problems


def test_several_are_all_told_and_the_rest_is_checked(trained_sweep, run, tmp_path):
    records = read_snapshot(trained_sweep).records
    for record in records[:2]:
        flip(record.run.folder / "metrics.jsonl")
    (trained_sweep.folder / "confirm.json").write_text("{}")
    (records[2].run.folder / "final.json").write_text('{"images": NaN}')
    code, output = run("verify", "real", "--home", str(tmp_path))
    assert code == 2
    assert len(output.splitlines()) == 5
    assert output.splitlines()[-1] == "real: 4 problems; 4 runs and 2 checkpoints checked"


def test_a_damaged_run_is_a_marked_row_and_the_others_are_as_before(trained_sweep, run, tmp_path):
    before = run("trials", "real", "--home", str(tmp_path))[1].splitlines()
    records = read_records(trained_sweep)
    winner = best(records, "max").run.number
    number = next(one.run.number for one in records if one.run.kind == "trial" and one.run.number != winner)
    key = f"trial-{number:04d}"
    flip(trained_sweep.folder / f"trials/{number:04d}/metrics.jsonl")
    code, output = run("trials", "real", "--home", str(tmp_path))
    assert code == 2
    assert [line for line in before if key not in line] == [
        line for line in output.splitlines() if key not in line and "error" not in line
    ]
    assert ",damaged," in next(line for line in output.splitlines() if line.startswith(key))
    code, output = run("compare", "real", "--home", str(tmp_path))
    assert (code, "damaged" in output, "Traceback" in output) == (2, True, False)
    problems = json.loads(run("status", "real", "--home", str(tmp_path), "--format", "json")[1].split("error:")[0])
    assert f"trials/{number:04d}/metrics.jsonl" in problems["problems"][0]
    code, output = run("export", "real", "--home", str(tmp_path), "--run", str(number))
    assert (code, "metrics.jsonl" in output) == (2, True)


def test_what_is_said_of_a_run_or_a_run_that_is_missing_names_the_older_journal(make_sweep, run, tmp_path):
    sweep = make_sweep("tiny")
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    older = sweep.journal.read_bytes()
    with sweep.lock():
        train_all(Ledger(sweep))
    sweep.journal.write_bytes(older)
    for arguments in (("standard",), ("standard", "--format", "json"), ("3",)):
        code, output = run("show", "tiny", *arguments, "--home", str(tmp_path))
        assert (code, f"{sweep.journal} has" in output, "put the newer one in its place" in output) == (2, True, True)
    code, output = run("replay", "tiny", "--pruner", "none", "--home", str(tmp_path))
    assert (code, "there is nothing to replay" in output, "put the newer one" in output) == (2, True, True)
