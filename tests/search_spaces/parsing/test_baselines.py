"""Published configurations in a space: what a name means under ``baselines`` and ``first``."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Baseline, Space, SpaceError, read
from search_spaces.parameters import with_changes

PUBLISHED = {
    "slow": {"trainable": "gan", "rate": 0.5, "net": {"width": 8, "body": "deep"}, "ratio": {"kind": "a", "turns": 2}},
    "other": {"trainable": "pgd", "steps": 7},
}


def space_of(**content: Any) -> Space:
    head = {"name": "x", "trainable": "gan", "budget": {"trials": 4, "compute": 2}}
    return read(json.dumps({**head, **content}), "x.yaml", published=PUBLISHED)


def first_of(parameters: dict[str, Any], *first: object) -> list[dict[str, Any]]:
    return space_of(parameters=parameters, first=list(first)).first_parameters()


def test_a_baseline_by_name_has_that_name_and_those_settings():
    space = space_of(
        baselines=[
            "standard",
            "other",
            {"published": "other", "name": "longer", "steps": 9},
            {"published": "slow", "net": {"width": 9}},
        ]
    )
    assert space.baselines == (
        Baseline(name="standard", trainable="standard"),
        Baseline(name="other", trainable="pgd", settings={"steps": 7}),
        Baseline(name="longer", trainable="pgd", settings={"steps": 9}),
        Baseline(
            name="slow",
            trainable="gan",
            settings={"rate": 0.5, "net": {"width": 9, "body": "deep"}, "ratio": {"kind": "a", "turns": 2}},
        ),
    )


def test_a_name_stands_for_the_settings_that_there_are_parameters_for():
    parameters = {"rate": {"float": [0, 1]}, "net": {"width": {"int": [1, 9]}, "depth": 3}, "ratio": {"kind": "a"}}
    assert first_of(parameters, "slow") == [{"rate": 0.5, "net.width": 8}]


def test_changes_go_over_it():
    parameters = {"rate": {"float": [0, 1]}, "net": {"width": {"choice": [1, 2]}, "depth": {"int": [1, 4]}}}
    changed = {"published": "slow", "net": {"width": 2, "depth": 4}}
    assert first_of(parameters, changed) == [{"rate": 0.5, "net.width": 2, "net.depth": 4}]


def test_a_named_group_with_the_same_settings_is_chosen():
    groups = {"fast": {"kind": "b", "turns": 2}, "plain": {"turns": 2, "kind": "a"}}
    assert first_of({"ratio": {"choice": groups}}, "slow") == [{"ratio": "plain"}]


def test_a_change_beside_a_setting_can_make_it_idle():
    parameters = {"ratio": {"kind": {"choice": ["a", "b"]}, "turns": {"int": [1, 3], "when": {"kind": "a"}}}}
    assert first_of(parameters, {"published": "slow", "ratio": {"kind": "b"}}) == [{"ratio.kind": "b"}]
    with pytest.raises(SpaceError, match=r"first\[0\].ratio.turns: has no effect beside ratio.kind = 'b'"):
        first_of(parameters, {"published": "slow", "ratio": {"kind": "b", "turns": 1}})


BAD = [
    ({"baselines": ["slow", "slow"]}, ["baselines[1]: slow is the name of two baselines"]),
    ({"baselines": [{"published": "slwo"}]}, ["baselines[0].published: unknown published configuration 'slwo'; did"]),
    ({"baselines": [{"published": ["slow"]}]}, ["baselines[0].published: unknown published configuration"]),
    ({"baselines": [{"published": "slow", "trainable": "gan"}]}, ["baselines[0].trainable: comes with what published"]),
    ({"first": ["slwo"]}, ["first[0]: unknown published configuration of gan 'slwo'; did you mean 'slow'?"]),
    ({"first": ["other"]}, ["first[0]: unknown published configuration of gan 'other' (valid: slow)"]),
    ({"first": [{"published": 3}]}, ["first[0].published: unknown published configuration of gan '3'"]),
    ({"first": [3]}, ["first[0]: must be a name or a mapping of settings, not 3"]),
    ({"first": ["slow"], "parameters": {"rate": 0.1}}, ["first[0].rate: must be 0.1, not 0.5"]),
    (
        {"first": ["slow"], "parameters": {"rate": {"float": [1, 2]}, "net": {"width": {"choice": [1, 2]}}}},
        ["first[0].rate: must be a number in [1, 2], not 0.5", "first[0].net.width: must be one of 1, 2, not 8"],
    ),
    (
        {"first": [{"published": "slow", "net": {"widht": 3}}], "parameters": {"net": {"width": {"int": [1, 9]}}}},
        ["first[0].net.widht: unknown parameter 'net.widht'; did you mean 'net.width'?"],
    ),
    ({"first": ["slow"], "parameters": {"rate": {"float": [1]}}}, ["rate: float takes [low, high]"]),
]


@pytest.mark.parametrize(("content", "expected"), BAD)
def test_what_does_not_fit_is_told_all_at_once(content, expected):
    with pytest.raises(SpaceError) as caught:
        space_of(**content)
    told = str(caught.value).splitlines()
    assert len(told) == len(expected)
    for line, fragment in zip(told, expected, strict=True):
        assert fragment in line


nested = st.recursive(
    st.integers(0, 9) | st.sampled_from(["u", "v"]),
    lambda inner: st.dictionaries(st.sampled_from(["p", "q", "r", "s"]), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: isinstance(value, dict))


@given(nested, nested)
@settings(max_examples=60, deadline=None)
def test_changes_win_and_the_rest_stays(base, changes):
    before = deepcopy((base, changes))
    result = with_changes(base, changes)
    assert (base, changes) == before
    assert with_changes(result, changes) == result
    assert with_changes(base, {}) == base
    assert with_changes({}, changes) == changes
    for key in base.keys() | changes.keys():
        if key not in changes:
            assert result[key] == base[key]
        elif not (isinstance(base.get(key), dict) and isinstance(changes[key], dict)):
            assert result[key] == changes[key]


@given(st.dictionaries(st.sampled_from(["rate", "width", "turns", "more"]), st.sampled_from(["fixed", "in", "out"])))
@settings(max_examples=60, deadline=None)
def test_a_configuration_is_taken_where_it_fits_and_refused_where_not(kinds):
    published = {"rate": 3, "width": 5, "turns": 7}
    domains = {
        "fixed": lambda name: published.get(name, 1),
        "in": lambda name: {"int": [1, 9]},
        "out": lambda name: {"choice": [10, 11]},
    }
    text = json.dumps(
        {
            "name": "x",
            "trainable": "gan",
            "budget": {"trials": 1, "compute": 1},
            "parameters": {name: domains[kind](name) for name, kind in kinds.items()},
            "first": ["it"],
        }
    )
    wrong = [name for name, kind in kinds.items() if kind == "out" and name in published]
    every = {"it": {"trainable": "gan", **published}}
    if wrong:
        with pytest.raises(SpaceError) as caught:
            read(text, "x.yaml", published=every)
        assert sorted(mistake.path[-1] for mistake in caught.value.mistakes) == sorted(wrong)
    else:
        taken = {name: published[name] for name, kind in kinds.items() if kind == "in" and name in published}
        assert read(text, "x.yaml", published=every).first_parameters() == [taken]
