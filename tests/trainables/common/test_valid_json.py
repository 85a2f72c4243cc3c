"""What is printed as JSON is JSON."""

import json
import math

import pytest

from trainables.common.valid_json import dump_json


def test_numbers_that_are_not_finite_are_null_wherever_they_stand():
    content = {"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": (0.5, 1, "NaN", None, True)}
    text = dump_json(content)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None,
        "b": [None, {"c": None}],
        "d": [0.5, 1, "NaN", None, True],
    }
