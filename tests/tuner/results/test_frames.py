"""Runs as typed tables: every format holds the same, and types do not depend on what happened to run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from tests.tuner.conftest import SEEDED, row, train_all
from tuner.results import frames
from tuner.search.ledger import Ledger
from tuner.sweep.reader import read_records

TYPES = {
    "run": "string",
    "kind": "string",
    "state": "string",
    "feasible": "bool",
    "value": "float64",
    "robust": "float64",
    "step": "float64",
    "reason": "string",
    "settings.batch_size": "Int64",
    "settings.generator.learning_rate": "float64",
    "settings.ratio.generator_turns": "Int64",
    "settings.trainable": "string",
}


@pytest.fixture
def trained(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    ledger.fail(ledger.next_run().key, 'error: a "quoted", and\nbroken line')
    train_all(ledger)
    return sweep


def test_columns_are_flat_and_typed(trained):
    table = frames.runs_frame(read_records(trained))
    assert len(table) == 6
    assert {name: str(table[name].dtype) for name in TYPES} == TYPES
    assert "object" not in set(map(str, table.dtypes))
    assert list(table["kind"]) == ["baseline"] * 2 + ["trial"] * 4
    assert table["settings.ratio.generator_turns"].isna().sum() >= 2, "baselines have no ratio"
    assert not any(name.endswith("time") for name in table.columns)


def test_lists_and_mixed_settings_are_json():
    assert list(frames._typed([[1, 2], None, 3])) == ["[1, 2]", pd.NA, "3"]
    assert list(frames._typed([True, None])) == [True, pd.NA]
    assert str(frames._typed([1, 0.5]).dtype) == "float64"
    assert str(frames._typed([None]).dtype) == "boolean"


def test_every_format_holds_the_same(trained, tmp_path):
    table = frames.runs_frame(read_records(trained))
    target = frames.write_frame(table, "parquet", tmp_path / "runs.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(target), table)
    rows = json.loads(frames.encode_frame(table, "json"))
    assert [one["robust"] for one in rows[1:]] == list(table["robust"][1:])
    assert rows[0]["reason"] == 'error: a "quoted", and\nbroken line'
    assert rows[0]["robust"] is None
    again = pd.read_csv(io.BytesIO(frames.encode_frame(table, "csv")))
    assert list(again.columns) == list(table.columns)
    assert list(again["settings.generator.learning_rate"].dropna()) == list(
        table["settings.generator.learning_rate"].dropna()
    )


def test_the_command_prints_or_writes_a_file(run, trained):
    code, output = run("trials", "tiny", "--home", ".")
    assert code == 0
    assert len(pd.read_csv(io.StringIO(output))) == 6
    assert len(json.loads(run("trials", "tiny", "--home", ".", "--format", "json")[1])) == 6
    code, output = run("trials", "tiny", "--home", ".", "--format", "parquet")
    assert (code, "--output" in output) == (2, True)
    assert run("trials", "tiny", "--home", ".", "--format", "parquet", "--output", "runs.parquet")[0] == 0
    assert len(pd.read_parquet("runs.parquet")) == 6
    code, output = run("trials", "tiny", "--home", ".", "--output", "nowhere/runs.csv")
    assert (code, "cannot write" in output) == (2, True)
    assert not Path("nowhere").exists()


def test_a_sweep_without_runs_is_an_empty_table(run, make_sweep):
    make_sweep(replace=SEEDED)
    assert run("trials", "tiny", "--home", ".")[1].startswith("run,kind,trainable,schedule,state,feasible,number,value")


def test_a_metric_that_few_runs_have_is_missing_in_the_others(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    ledger.complete(ledger.next_run().key, row(3, masking_failures=1.0))
    train_all(ledger)
    assert list(frames.runs_frame(read_records(sweep))["masking_failures"].isna()) == [False] + [True] * 5


def test_no_code_for_a_terminal_is_in_csv(run, make_sweep):
    sweep = make_sweep()
    with sweep.lock():
        ledger = Ledger(sweep)
        ledger.fail(ledger.next_run().key, "\x1b[2Jboom\r\x9b31m\nof, two lines")
    code, said = run("trials", "tiny", "--format", "csv", "--home", str(sweep.store.root))
    assert code == 0
    assert {c for c in said if not c.isprintable()} == {"\n"}
    assert '"\\x1b[2Jboom\\r\\x9b31m\nof, two lines"' in said
