"""Schedules as parameters: what they are expanded to, that every kind comes of it, and how they are tried first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import Choice, Fixed, FloatRange, IntRange, Space, read
from search_spaces.parsing.schedules import KINDS

RATE = ("classifier", "learning_rate")
NAME = ".".join(RATE)


def space_of(leaf: Any, **others: Any) -> Space:
    head = {"name": "x", "trainable": "gan", "budget": {"trials": 1, "compute": 1}}
    return read(json.dumps({**head, "parameters": {"classifier": {"learning_rate": leaf}}, **others}), "x.yaml")


def settings_with(space: Space, values: dict[str, Any]) -> Any:
    return space.settings(lambda one: values[one.name])["classifier"]["learning_rate"]


def test_a_schedule_is_a_kind_and_as_many_values_as_the_kind_has():
    space = space_of({"float": [1e-4, 1e-2], "log": True, "schedule": ["constant", "linear", "stepped"], "knots": 4})
    domains = {one.name: one.domain for one in space.parameters}
    values = FloatRange(1e-4, 1e-2, log=True)
    assert domains == {f"{NAME}.kind": Choice(KINDS), **{f"{NAME}.knot_{number}": values for number in (1, 2, 3, 4)}}
    kind = (*RATE, "kind")
    assert [one.when for one in space.parameters] == [
        (),
        (),
        ((kind, ("linear", "stepped")),),
        ((kind, ("stepped",)),),
        ((kind, ("stepped",)),),
    ]


def test_one_kind_is_fixed_and_its_values_are_no_choice():
    space = space_of({"int": [1, 8], "schedule": "stepped", "at": [0, 0.2, 0.4, 0.6]})
    assert {one.name.removeprefix(f"{NAME}."): one.domain for one in space.parameters} == {
        "kind": Fixed("stepped"),
        "at": Fixed([0.0, 0.2, 0.4, 0.6]),
        **{f"knot_{number}": IntRange(1, 8) for number in (1, 2, 3, 4)},
    }
    assert not any(one.when for one in space.parameters)


def test_moments_count_for_the_kind_that_has_them():
    space = space_of({"choice": [1, 2], "schedule": ["constant", "linear"], "at": [0.2, 1]})
    knots = {f"{NAME}.knot_1": 1, f"{NAME}.knot_2": 2}
    assert settings_with(space, {f"{NAME}.kind": "constant", **knots}) == {"kind": "constant", "values": [1]}
    assert settings_with(space, {f"{NAME}.kind": "linear", **knots}) == {
        "kind": "linear",
        "at": [0.2, 1.0],
        "values": [1, 2],
    }


def test_a_schedule_without_knots_has_three_steps():
    assert len(space_of({"int": [1, 2], "schedule": "stepped"}).parameters) == 4


def test_a_condition_of_the_setting_holds_for_all_its_parts():
    leaf = {"int": [1, 2], "schedule": ["constant", "stepped"], "knots": 2, "when": {"optimizer": "adam"}}
    parameters = {"classifier": {"learning_rate": leaf, "optimizer": {"choice": ["adam", "sgd"]}}}
    space = space_of(None, parameters=parameters)
    chosen = {f"{NAME}.kind": "stepped", f"{NAME}.knot_1": 1, f"{NAME}.knot_2": 2}
    for optimizer, settings in (("sgd", {}), ("adam", {"learning_rate": {"kind": "stepped", "values": [1, 2]}})):
        got = space.settings(lambda one, kind=optimizer: {**chosen, "classifier.optimizer": kind}[one.name])
        assert got == {"classifier": {"optimizer": optimizer, **settings}}


def test_a_setting_can_count_beside_one_kind_alone():
    leaf = {"int": [1, 2], "schedule": ["constant", "linear"]}
    cyclic = {"choice": ["cyclic", "step"], "when": {"learning_rate": "constant"}}
    space = space_of(None, parameters={"classifier": {"schedule": cyclic, "learning_rate": leaf}})
    names = [one.name for one in space.parameters]
    assert names.index("classifier.schedule") > names.index(f"{NAME}.kind")
    for kind in ("constant", "linear"):
        values = {f"{NAME}.kind": kind, f"{NAME}.knot_1": 1, f"{NAME}.knot_2": 2, "classifier.schedule": "step"}
        settings = space.settings(lambda one, values=values: values[one.name])["classifier"]
        assert ("schedule" in settings) is (kind == "constant")


def test_a_grid_has_every_schedule_once():
    leaf = {"choice": [1, 2], "schedule": ["constant", "linear", "stepped"], "knots": 3}
    space = space_of(leaf, search={"sampler": "grid"}, budget={"compute": 1})
    assert space.num_trials == 2 + 2**2 + 2**3
    seen = [settings_with(space, point) for point in space.grid()]
    assert [one["values"] for one in seen if one["kind"] == "linear"] == [[1, 1], [1, 2], [2, 1], [2, 2]]


@given(
    st.lists(st.sampled_from(KINDS), min_size=1, unique=True).filter(lambda kinds: kinds != ["constant"]),
    st.integers(2, 16),
    st.data(),
)
def test_whatever_is_chosen_the_settings_are_one_of_the_kinds_with_its_values(kinds, knots, data):
    space = space_of({"int": [1, 9], "schedule": kinds, **({"knots": knots} if "stepped" in kinds else {})})
    chosen: dict[str, Any] = {}

    def suggest(one):
        chosen[one.name] = data.draw(
            st.integers(1, 9) if isinstance(one.domain, IntRange) else st.sampled_from(one.domain.values)
        )
        return chosen[one.name]

    settings = space.settings(suggest)["classifier"]["learning_rate"]
    kind = chosen.get(f"{NAME}.kind", kinds[0])
    length = {"constant": 1, "linear": 2, "stepped": knots}[kind]
    assert settings == {"kind": kind, "values": [chosen[f"{NAME}.knot_{number}"] for number in range(1, length + 1)]}
    assert len(chosen) == length + (len(kinds) > 1)


LEAF = {"float": [0.1, 9], "schedule": ["constant", "linear", "stepped"], "knots": 3}


@pytest.mark.parametrize(
    ("first", "parts"),
    [
        (0.5, {"kind": "constant", "knot_1": 0.5}),
        ({"kind": "constant", "values": [0.5]}, {"kind": "constant", "knot_1": 0.5}),
        ({"kind": "linear", "values": [5, 2], "at": None}, {"kind": "linear", "knot_1": 5.0, "knot_2": 2.0}),
        ({"kind": "stepped", "knot_1": 5, "knot_3": 2}, {"kind": "stepped", "knot_1": 5.0, "knot_3": 2.0}),
    ],
)
def test_what_is_tried_first_is_a_number_or_a_schedule_in_either_spelling(first, parts):
    space = space_of(LEAF, first=[{"classifier": {"learning_rate": first}}])
    assert space.first_parameters() == [{f"{NAME}.{name}": value for name, value in parts.items()}]


def test_a_published_schedule_is_taken_over_and_can_be_changed():
    rate = {"kind": "stepped", "values": [3, 2, 1], "at": None}
    published = {"old": {"trainable": "gan", "classifier": {"learning_rate": rate}}}
    changes = [
        "old",
        {"published": "old", "classifier": {"learning_rate": 4}},
        {"published": "old", "classifier": {"learning_rate": {"kind": "linear"}}},
    ]
    head = {"name": "x", "trainable": "gan", "budget": {"trials": 1, "compute": 1}, "first": changes}
    text = json.dumps({**head, "parameters": {"classifier": {"learning_rate": LEAF}}})
    assert [
        {name.removeprefix(f"{NAME}."): value for name, value in point.items()}
        for point in read(text, "x.yaml", published=published).first_parameters()
    ] == [
        {"kind": "stepped", "knot_1": 3.0, "knot_2": 2.0, "knot_3": 1.0},
        {"kind": "constant", "knot_1": 4.0},
        {"kind": "linear", "knot_1": 3.0, "knot_2": 2.0},
    ]
