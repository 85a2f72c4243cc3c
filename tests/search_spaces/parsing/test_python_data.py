"""Spaces given as Python data: what counts as numbers and lists, and what is refused with its place."""

from __future__ import annotations

import math
from decimal import Decimal
from enum import Enum
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import Choice, FloatRange, SpaceError
from search_spaces.configurations import parse_space
from search_spaces.parsing.python_data import text_of_data
from search_spaces.parsing.yaml_document import parse


class Body(Enum):
    STRIDED = "strided"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.1), 0.1),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([1, 2]), [1, 2]),
        (np.array([[0.1, 0.2]], dtype=np.float32), [[0.1, 0.2]]),
        (np.float32(3.4028235e38), 3.4028235e38),
        (torch.tensor(0.1), 0.1),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (range(2, 8, 2), [2, 4, 6]),
        ((1, (2, None)), [1, [2, None]]),
        (Fraction(8, 255), 8 / 255),
        (Decimal("0.1"), 0.1),
        ("8/255", 8 / 255),
        (["2/255", "8 / 255"], [2 / 255, 8 / 255]),
        (Body.STRIDED, "strided"),
        ("a\x7f\ufeff\u2028é😀", "a\x7f\ufeff\u2028é😀"),
        (1e22, 1e22),
        (-(2**62), -(2**62)),
    ],
    ids=repr,
)
def test_what_python_calls_numbers_and_lists_is_read_as_such(value, plain):
    document = parse(text_of_data({"key": value}, "space"))
    assert document.mistakes == ()
    assert document.data == {"key": plain}


CIRCLE: dict[str, object] = {}
CIRCLE["again"] = CIRCLE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": [1, math.nan]}, "space: a[1]: must be a finite number, not nan"),
        ({"a": np.array([math.inf])}, "space: a[0]: must be a finite number, not inf"),
        ({"a": Decimal("1e999")}, "space: a: must be a finite number, not inf"),
        ({"a": 2**63}, "space: a: must be below 2**63"),
        ({"a": 10**6000}, "space: a: must be below 2**63"),
        ({"a": {1: 2}}, "space: a: a key must be text, not int 1"),
        ({"a": {1, 2}}, "space: a: a space must be made of mappings, lists, text and numbers"),
        ({"a": b"b"}, "not bytes b'b'"),
        ({"a": 1j}, "not complex 1j"),
        ({"a": np.datetime64("2020-01-01")}, "not date"),
        ({"a": range(10**12)}, "space: a: more than 4,000 keys and values"),
        ({"a": np.zeros(10**7)}, "space: a: more than 4,000 keys and values"),
        ({"a": {str(key): 1 for key in range(3000)}}, "more than 4,000 keys and values"),
        (CIRCLE, "again: nested more than 16 levels deep"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_place(content, message):
    with pytest.raises(SpaceError) as caught:
        text_of_data(content, "space")
    assert message in str(caught.value)


def test_a_space_of_arrays_tuples_and_ranges_is_that_of_its_file():
    content = {
        "name": "written",
        "trainable": "gan",
        "budget": {"trials": np.int64(4), "compute": torch.tensor(2.0)},
        "evaluation": {"epsilon": "8/255"},
        "parameters": {
            "batch_size": {"choice": np.array([16, 32])},
            "generator": {"perturbation_bound": {"float": ("2/255", Fraction(8, 255))}},
            "ratio": {"generator_turns": {"choice": range(1, 4)}},
        },
    }
    space = parse_space(text_of_data(content, "space"), "space")
    assert space.evaluation.epsilon == 8 / 255
    assert [parameter.domain for parameter in space.parameters] == [
        Choice((16, 32)),
        FloatRange(2 / 255, 8 / 255),
        Choice((1, 2, 3)),
    ]


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.fractions(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
    max_leaves=20,
)


@given(_PLAIN)
def test_whatever_is_given_is_a_space_or_a_space_error(content):
    try:
        text = text_of_data(content, "space")
    except SpaceError:
        return
    with pytest.raises(SpaceError):
        parse_space(text, "space")
