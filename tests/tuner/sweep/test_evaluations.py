"""Files of evaluation results: what is read, and what is said of damaged ones."""

from __future__ import annotations

import json

import pytest

from tuner.errors import UserError
from tuner.sweep.evaluations import read_evaluation
from tuner.sweep.runs import Run

COMPLETE = {"dataset": "digits", "split": "test", "images": 7, "epsilon": 0.2, "metrics": {"clean": 0.5}}


@pytest.fixture
def run(tmp_path):
    return Run("trial-0001", "trial", 1, {}, tmp_path, "0" * 32)


def test_a_run_without_a_file_has_no_results(run):
    assert read_evaluation(run) is None


@pytest.mark.parametrize("key", COMPLETE)
def test_a_file_that_lacks_a_key_is_named_with_the_key(run, key):
    path = run.folder / "final.json"
    path.write_text(json.dumps(COMPLETE))
    assert read_evaluation(run).images == 7
    path.write_text(json.dumps({name: value for name, value in COMPLETE.items() if name != key}))
    with pytest.raises(UserError, match=rf"final.json is damaged \({key}: Field required\)"):
        read_evaluation(run)


def test_a_file_of_another_run_or_sweep_is_refused(run):
    path = run.folder / "final.json"
    for own, other, reason in (
        ("run", "trial-0000", "another run, trial-0000"),
        ("sweep_id", "1" * 32, "another sweep"),
    ):
        path.write_text(json.dumps({**COMPLETE, "run": run.key, "sweep_id": run.sweep_id}))
        assert read_evaluation(run).images == 7
        path.write_text(json.dumps({**COMPLETE, own: other}))
        with pytest.raises(UserError, match=f"final.json belongs to {reason}.*: remove it and evaluate the run again"):
            read_evaluation(run)
