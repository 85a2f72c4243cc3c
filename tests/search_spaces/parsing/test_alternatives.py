"""Ranges with steps, ranges that depend on a sibling, and zero beside a range: read, refused, drawn, tried first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from search_spaces.configurations import configuration_for, parse_launched_space, parse_space
from search_spaces.errors import SpaceError
from search_spaces.parameters import FloatRange, Parameter
from search_spaces.schema import Space
from tuner.search.distributions import distribution
from tuner.storage.optuna_internals import contains
from tuner.sweep.identity import changed_keys, content_of

ADAM_OR_SGD = {"adam": {"float": [1e-4, 1e-2], "log": True}, "sgd": {"float": [1e-2, 1.0], "log": True}}
OPTIMIZER = {"choice": ["adam", "sgd"]}


def text(classifier: dict[str, Any], sampler: str = "random", **others: Any) -> str:
    budget = {"compute": 20} if sampler == "grid" else {"trials": 9, "compute": 20}
    head = {"name": "mine", "trainable": "standard", "budget": budget, "search": {"sampler": sampler}}
    return json.dumps({**head, "parameters": {"classifier": classifier}, **others}, indent=1)


def read(classifier: dict[str, Any], sampler: str = "random", **others: Any) -> Space:
    return parse_space(text(classifier, sampler, **others), "x.yaml")


def settings(space: Space, **values: Any) -> dict[str, Any]:
    """Return the settings of the classifier of a trial; parameters that are not named have their first value."""

    def value_of(parameter: Parameter) -> Any:
        domain = parameter.domain
        default = getattr(domain, "low", None) if hasattr(domain, "low") else domain.values[0]
        return values.get(parameter.name.removeprefix("classifier.").replace(".", "_"), default)

    nested = space.settings(value_of)
    configuration_for(space, nested, 0)
    return dict(nested["classifier"])


def test_the_range_of_a_setting_depends_on_a_choice():
    space = read({"learning_rate": {"by": {"optimizer": ADAM_OR_SGD}}, "optimizer": OPTIMIZER})
    assert [item.name for item in space.parameters] == [
        "classifier.optimizer",
        "classifier.learning_rate.adam",
        "classifier.learning_rate.sgd",
    ]
    assert settings(space) == {"optimizer": "adam", "learning_rate": 1e-4}
    assert settings(space, optimizer="sgd") == {"optimizer": "sgd", "learning_rate": 1e-2}


def test_cases_may_be_of_any_kind_and_the_sibling_a_number_or_null():
    cases = {"null": 0.5, "0.5": {"choice": [0.1, 0.2]}, "1.0": {"float": [1e-3, 1e-2], "step": 1e-3, "or_zero": True}}
    space = read({"weight_decay": {"by": {"gradient_clip": cases}}, "gradient_clip": {"choice": [None, 0.5, 1.0]}})
    assert settings(space) == {"gradient_clip": None, "weight_decay": 0.5}
    assert settings(space, gradient_clip=0.5) == {"gradient_clip": 0.5, "weight_decay": 0.1}
    assert settings(space, gradient_clip=1.0)["weight_decay"] == 1e-3
    assert settings(space, gradient_clip=1.0, weight_decay_1_0_is_zero=True) == {
        "gradient_clip": 1.0,
        "weight_decay": 0,
    }


def test_zero_or_a_range():
    space = read({"weight_decay": {"float": [1e-6, 1e-2], "log": True, "or_zero": True}})
    assert settings(space) == {"weight_decay": 1e-6}
    assert settings(space, weight_decay_is_zero=True) == {"weight_decay": 0}


def test_a_step_makes_a_range_finite():
    space = read({"average_decay": {"float": [0.1, 0.7], "step": 0.2}}, sampler="grid")
    assert [point["classifier.average_decay"] for point in space.grid()] == [0.1, 0.3, 0.5, 0.7]
    whole = parse_space(
        text({}, "grid").replace('"classifier": {}', '"batch_size": {"int": [16, 64], "step": 16}'), "x"
    )
    assert [point["batch_size"] for point in whole.grid()] == [16, 32, 48, 64]


@pytest.mark.parametrize(
    ("low", "high", "step", "count"),
    [
        (4 / 255, 16 / 255, 4 / 255, 4),
        (2 / 255, 16 / 255, 2 / 255, 8),
        (1 / 3, 5 / 3, 1 / 3, 5),
        (1e-14, 9e-14, 1e-14, 9),
        (0.1, 0.7, 0.1, 7),
        (0, 1, 1 / 7, 8),
    ],
)
def test_a_step_that_no_decimal_number_is_reaches_the_end_of_its_range(low, high, step, count):
    """Optuna counts steps in decimals, and would leave the last value out, with a warning."""
    space = read({"weight_decay": {"float": [low, high], "step": step}}, first=[{"classifier": {"weight_decay": high}}])
    domain = space.parameters[0].domain
    assert isinstance(domain, FloatRange)
    assert domain.points is not None
    assert len(domain.points) == count
    assert domain.points[-1] == domain.high == pytest.approx(high)
    made = distribution(domain)
    assert [contains(made, point) for point in (*domain.points, *space.first_parameters()[0].values())] == [True] * (
        count + 1
    )


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        ({"weight_decay": {"float": [0, 1], "step": 0.3}}, "step: must divide the range: from 0 in steps of 0.3"),
        ({"weight_decay": {"float": [0, 1], "step": 2}}, "must divide the range"),
        ({"weight_decay": {"float": [0, 1], "step": 0}}, "step: must be a number above 0, not 0"),
        ({"weight_decay": {"float": [0, 1], "step": -0.5}}, "must be a number above 0"),
        ({"weight_decay": {"float": [0, 1], "step": "x"}}, "must be a number above 0, not 'x'"),
        ({"weight_decay": {"float": [0, 1], "step": None}}, "must be a number above 0, not null"),
        ({"weight_decay": {"float": [0, 1], "step": 1e-9}}, "makes more than 100,000 values"),
        ({"weight_decay": {"float": [0.1, 1], "step": 0.1, "log": True}}, "step: cannot stand beside log"),
        ({"weight_decay": {"choice": [0, 1], "step": 1}}, "unknown key 'step'"),
        ({"weight_decay": {"float": [0, 1], "or_zero": True}}, "or_zero: is zero beside a range above it, and low (0)"),
        ({"weight_decay": {"float": [0.1, 1], "or_zero": "yes"}}, "or_zero: must be true or false, not 'yes'"),
        ({"weight_decay": {"choice": [0.1, 1], "or_zero": True}}, "unknown key 'or_zero'"),
        ({"learning_rate": {"float": [0.1, 1], "or_zero": True}}, "or_zero: must be greater than or equal to 1e-12"),
        ({"learning_rate": {"float": [0.1, 1], "or_zero": True, "schedule": "linear"}}, "cannot stand beside schedule"),
        ({"learning_rate": {"by": "optimizer"}, "optimizer": OPTIMIZER}, "takes one sibling and a range for each"),
        (
            {"learning_rate": {"by": {"optimizer": {}}}, "optimizer": OPTIMIZER},
            "takes one sibling and a range for each",
        ),
        ({"learning_rate": {"by": {"optimiser": ADAM_OR_SGD}}, "optimizer": OPTIMIZER}, "unknown sibling 'optimiser'"),
        ({"learning_rate": {"by": {"optimizer": ADAM_OR_SGD}}}, "unknown sibling 'optimizer'"),
        (
            {"learning_rate": {"by": {"optimizer": {"adam": ADAM_OR_SGD["adam"]}}}, "optimizer": OPTIMIZER},
            "says nothing for sgd, which optimizer may be",
        ),
        (
            {"learning_rate": {"by": {"optimizer": {**ADAM_OR_SGD, "lion": 1e-3}}}, "optimizer": OPTIMIZER},
            "optimizer is never lion",
        ),
        (
            {
                "learning_rate": {"by": {"optimizer": {**ADAM_OR_SGD, "adam": {"float": [1, 0.1]}}}},
                "optimizer": OPTIMIZER,
            },
            "by.optimizer.adam: low (1) must be below high (0.1)",
        ),
        (
            {
                "learning_rate": {"by": {"optimizer": {**ADAM_OR_SGD, "adam": {"float": [-1, 0.1]}}}},
                "optimizer": OPTIMIZER,
            },
            "must be greater than or equal to 1e-12, not -1.0",
        ),
        (
            {
                "learning_rate": {"by": {"weight_decay": {"1": 0.1}}},
                "weight_decay": {"float": [0, 1]},
            },
            "a condition needs a choice, an int or a fixed value, and weight_decay is a number in [0, 1]",
        ),
        (
            {
                "learning_rate": {"by": {"weight_decay": {"1": 0.1}}},
                "weight_decay": {"by": {"gradient_clip": {"1": 0.1}}},
                "gradient_clip": {"by": {"learning_rate": {"1": 0.1}}},
            },
            "leads back to itself: learning_rate depends on weight_decay depends on gradient_clip depends on",
        ),
        (
            {
                "learning_rate": {"by": {"optimizer": ADAM_OR_SGD}},
                "optimizer": {**OPTIMIZER, "when": {"learning_rate": 0.1}},
            },
            "leads back to itself: optimizer depends on learning_rate depends on optimizer",
        ),
        (
            {
                "learning_rate": {"by": {"optimizer": {"adam": {"by": {"x": {"y": 1}}}, "sgd": 0.1}}},
                "optimizer": OPTIMIZER,
            },
            "nothing else can depend",
        ),
        ({"learning_rate": {"by": {"learning_rate": ADAM_OR_SGD}}}, "unknown sibling 'learning_rate'"),
        ({"learning_rat": {"by": {"optimizer": ADAM_OR_SGD}}, "optimizer": OPTIMIZER}, "unknown key 'learning_rat'"),
    ],
)
def test_what_cannot_be_is_a_mistake_with_its_line(classifier, message):
    with pytest.raises(SpaceError) as caught:
        read(classifier)
    assert message in str(caught.value)
    begin = text(classifier).splitlines().index('  "classifier": {') + 1
    assert all(mistake.line is not None and mistake.line > begin for mistake in caught.value.mistakes)


@pytest.mark.parametrize("name", ["report_every", "compute"])
def test_what_all_trials_share_cannot_depend_either(name):
    by = {"by": {"precision": {"float32": 0.5, "bfloat16": 1.0 if name == "report_every" else 100.0}}}
    content = text({}).replace(
        '"classifier": {}', f'"precision": {{"choice": ["float32", "bfloat16"]}}, "{name}": {json.dumps(by)}'
    )
    with pytest.raises(SpaceError, match=r"must be fixed|must not be above budget\.compute"):
        parse_space(content, "x.yaml")


FIRST = {
    "learning_rate": {"by": {"optimizer": ADAM_OR_SGD}},
    "optimizer": OPTIMIZER,
    "weight_decay": {"float": [1e-6, 1e-2], "log": True, "or_zero": True},
}


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ({"optimizer": "sgd", "learning_rate": 0.1}, {"optimizer": "sgd", "learning_rate.sgd": 0.1}),
        ({"optimizer": "adam", "learning_rate": 0.01}, {"optimizer": "adam", "learning_rate.adam": 0.01}),
        ({"learning_rate": 0.001}, {"learning_rate.adam": 0.001}),
        ({"learning_rate": 0.01}, {"learning_rate.adam": 0.01, "learning_rate.sgd": 0.01}),
        ({"weight_decay": 0}, {"weight_decay.is_zero": True}),
        ({"weight_decay": 1e-3}, {"weight_decay.is_zero": False, "weight_decay.above_zero": 1e-3}),
    ],
)
def test_what_is_tried_first_says_plain_values(first, expected):
    space = read(FIRST, first=[{"classifier": first}])
    assert space.first_parameters() == [{f"classifier.{key}": value for key, value in expected.items()}]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({"optimizer": "sgd", "learning_rate": 0.001}, "must be a number in [0.01, 1], not 0.001"),
        ({"learning_rate": 7}, "must be a number in [0.0001, 0.01], not 7"),
        ({"weight_decay": 1}, "must be a number in [1e-06, 0.01], not 1"),
    ],
)
def test_what_is_tried_first_must_lie_in_the_range_beside_it(first, message):
    with pytest.raises(SpaceError) as caught:
        read(FIRST, first=[{"classifier": first}])
    assert message in str(caught.value)


def test_a_step_is_part_of_what_a_sweep_was_launched_with_and_its_absence_is_not():
    plain, stepped = (read({"weight_decay": {"float": [0, 1], **step}}) for step in ({}, {"step": 0.5}))
    assert "step" not in str(content_of(plain)["parameters.classifier.weight_decay"])  # as in earlier releases
    assert changed_keys(content_of(plain), content_of(stepped)) == ["parameters.classifier.weight_decay"]
    dependent = text(FIRST)
    launched = parse_launched_space(dependent, "space.yaml")
    assert changed_keys(content_of(launched), content_of(parse_launched_space(dependent, "space.yaml"))) == []


def test_the_warm_up_of_every_case_counts_for_the_first_rung():
    content = json.loads(text({"optimizer": OPTIMIZER}, sampler="tpe"))
    content |= {"trainable": "pgd", "search": {"sampler": "tpe", "pruner": "median"}}
    by = {"by": {"steps": {"1": 0.1, "2": {"float": [0.2, 0.6]}}}}
    content["parameters"]["attack"] = {"steps": {"int": [1, 2]}, "warmup": by}
    assert parse_space(json.dumps(content), "x.yaml").search.pruner.first_rung == 12
