"""Spaces at work: the settings and the grid of random valid spaces, and of some that are easy to read."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Fixed, FloatRange, IntRange, Parameter, Space, read

LIGHT = settings(max_examples=60, deadline=None)
HEAD = {"name": "x", "trainable": "gan"}


def space_of(parameters: dict[str, Any], **head: Any) -> Space:
    """JSON is YAML: a space without the trouble of indenting."""
    return read(json.dumps({**HEAD, "budget": {"trials": 1, "compute": 1}, "parameters": parameters, **head}), "x.yaml")


def grid_of(parameters: dict[str, Any], **head: Any) -> Space:
    return space_of(parameters, search={"sampler": "grid"}, budget={"compute": 1}, **head)


KIND = {"choice": ["constant", "adaptive"]}
TURNS = {"int": [1, 3], "when": {"kind": "constant"}}


def test_conditions_hold_whatever_the_order_in_the_file():
    space = space_of({"ratio": {"turns": TURNS, "kind": KIND}, "fixed": [1]})
    settings = {
        kind: space.settings(lambda p, kind=kind: {"ratio.kind": kind}.get(p.name, 2)) for kind in KIND["choice"]
    }
    assert settings["constant"] == {"ratio": {"kind": "constant", "turns": 2}, "fixed": [1]}
    assert settings["adaptive"] == {"ratio": {"kind": "adaptive"}, "fixed": [1]}


def test_a_condition_on_a_setting_that_does_not_count_does_not_hold():
    space = grid_of(
        {"a": {"choice": [0, 1]}, "b": {"int": [1, 2], "when": {"a": 1}}, "c": {"int": [5, 6], "when": {"b": 2}}}
    )
    assert space.grid() == [{"a": 0}, {"a": 1, "b": 1}, {"a": 1, "b": 2, "c": 5}, {"a": 1, "b": 2, "c": 6}]


def test_a_condition_on_a_fixed_value_holds():
    assert grid_of({"kind": "constant", "turns": TURNS}).grid() == [{"turns": 1}, {"turns": 2}, {"turns": 3}]


def test_a_named_group_is_put_in_its_place():
    space = grid_of({"ratio": {"choice": {"two": {"kind": "constant", "turns": 2}, "rest": {"steps": [6, 8]}}}})
    assert space.grid() == [{"ratio": "two"}, {"ratio": "rest"}]
    settings = space.settings(lambda _: "rest")
    assert settings == {"ratio": {"steps": [6, 8]}}
    settings["ratio"]["steps"].clear()
    assert space.settings(lambda _: "rest") == {"ratio": {"steps": [6, 8]}}, "the space must not change"


def test_a_grid_says_how_many_trials_it_needs():
    assert grid_of({"ratio": {"kind": KIND, "turns": TURNS}}, seeds=3).num_trials == 4 * 3
    assert grid_of({}).num_trials == 1


TEXTS = st.text("aé: #-'", max_size=3)
VALUES = st.none() | st.booleans() | st.integers(-5, 5) | TEXTS | st.floats(-5, 5).filter(lambda x: x % 1)
PAIRS = st.tuples(st.integers(-9, 9), st.integers(1, 3)).map(lambda pair: [pair[0], sum(pair)])
LEAVES = st.one_of(
    VALUES,
    st.lists(st.integers(-(2**62), 2**62), max_size=3),
    st.lists(VALUES, min_size=1, max_size=4, unique_by=lambda value: value).map(lambda values: {"choice": values}),
    PAIRS.map(lambda pair: {"int": pair}),
    st.dictionaries(st.sampled_from("pq"), st.fixed_dictionaries({"x": VALUES}), min_size=1).map(
        lambda g: {"choice": g}
    ),
)
SINGLE = st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3)


def possible(leaf: Any) -> list[Any]:
    """The values that a sibling may name in a condition."""
    if not isinstance(leaf, dict):
        return [] if isinstance(leaf, list) else [leaf]
    return list(leaf.get("choice", leaf.get("int", [])))


@st.composite
def trees(draw: st.DrawFn, *, floats: bool = True) -> dict[str, Any]:
    """Valid parameters in two groups; some settings of a group count only beside values of one that stands before."""
    tree: dict[str, Any] = draw(SINGLE)
    ranges = PAIRS.map(lambda pair: {"float": pair}) | LEAVES if floats else LEAVES
    for key in ("d", "e", "f"):
        leaf = draw(ranges)
        siblings = [sibling for sibling, other in tree.items() if possible(other)]
        if isinstance(leaf, dict) and siblings:
            sibling = draw(st.sampled_from(siblings))
            values = draw(st.lists(st.sampled_from(possible(tree[sibling])), max_size=2))
            leaf = {**leaf, "when": {sibling: values}} if values else leaf
        tree[key] = leaf
    backwards = dict(reversed(tree.items())) if draw(st.booleans()) else tree
    return {"group": backwards, "other": draw(SINGLE)}


def draw_value(parameter: Parameter, rng: random.Random) -> Any:
    domain = parameter.domain
    assert not isinstance(domain, Fixed), "a fixed value is not asked for"
    if isinstance(domain, FloatRange):
        return rng.uniform(domain.low, domain.high)
    return rng.randint(domain.low, domain.high) if isinstance(domain, IntRange) else rng.choice(domain.values)


@LIGHT
@given(trees(), st.integers(0, 99))
def test_settings_lie_in_their_domains_and_respect_conditions(tree, seed):
    space = space_of(tree)
    rng = random.Random(seed)
    asked: dict[str, Any] = {}

    def suggest(parameter: Parameter) -> Any:
        assert parameter.name not in asked
        asked[parameter.name] = draw_value(parameter, rng)
        return asked[parameter.name]

    settings = space.settings(suggest)
    chosen = {**{p.name: p.domain.value for p in space.parameters if isinstance(p.domain, Fixed)}, **asked}
    for parameter in space.parameters:
        counts = parameter.active(chosen)
        assert counts == (parameter.name in chosen)
        group, key = parameter.path
        assert counts == (key in settings.get(group, {}))
        if counts:
            assert parameter.domain.holds(chosen[parameter.name])


@LIGHT
@given(trees(floats=False))
def test_a_grid_has_every_point_once(tree):
    space = grid_of(tree)
    points = [json.dumps(point, sort_keys=True) for point in space.grid()]
    assert len(points) == len(set(points)) == space.num_trials
    for point in space.grid():
        asked: set[str] = set()
        space.settings(lambda parameter: (asked.add(parameter.name), point[parameter.name])[1])  # noqa: B023
        assert asked == set(point)


@LIGHT
@given(trees(), st.integers(0, 99))
def test_what_a_space_can_be_can_be_tried_first(tree, seed):
    rng = random.Random(seed)
    tried: dict[str, Any] = {}
    for parameter in space_of(tree).parameters:
        if parameter.varies and parameter.active(tried) and not parameter.when:
            tried.setdefault(parameter.name, draw_value(parameter, rng))
    nested: dict[str, Any] = {}
    for name, value in tried.items():
        group, key = name.split(".")
        nested.setdefault(group, {})[key] = value
    assert space_of(tree, first=[nested]).first_parameters() == [tried]
