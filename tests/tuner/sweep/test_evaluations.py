"""Files of evaluation results: what is read, and what is said of damaged ones."""

from __future__ import annotations

import json

import pytest

from tuner.errors import UserError
from tuner.sweep.evaluations import read_evaluation

COMPLETE = {"dataset": "digits", "split": "test", "images": 7, "epsilon": 0.2, "metrics": {"clean_accuracy": 0.5}}


def test_a_run_without_a_file_has_no_results(tmp_path):
    assert read_evaluation(tmp_path) is None


@pytest.mark.parametrize("key", COMPLETE)
def test_a_file_that_lacks_a_key_is_named_with_the_key(tmp_path, key):
    path = tmp_path / "final.json"
    path.write_text(json.dumps(COMPLETE))
    assert read_evaluation(tmp_path).images == 7
    path.write_text(json.dumps({name: value for name, value in COMPLETE.items() if name != key}))
    with pytest.raises(UserError, match=rf"final.json is damaged \({key}: Field required\)"):
        read_evaluation(tmp_path)
