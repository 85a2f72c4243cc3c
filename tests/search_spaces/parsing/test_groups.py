"""Settings that vary inside of named groups: read, refused, drawn, tried first, found again in a run's settings."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from search_spaces.configurations import configuration_for, parse_launched_space, parse_space
from search_spaces.errors import SpaceError
from search_spaces.parameters import Fragments, Parameter, settings_decided
from search_spaces.schema import Space
from tuner.search.distributions import drawn_configurations
from tuner.sweep.identity import changed_keys, content_of

TEXT = """\
name: groups
trainable: standard
budget: {trials: 9, compute: 20}
parameters:
  classifier:
    choice:
      adam:
        optimizer: adam
        learning_rate: {float: [1.0e-4, 1.0e-2], log: true, prior: 1.0e-3}
        weight_decay: {float: [1.0e-6, 1.0e-2], log: true, or_zero: true, when: {gradient_clip: null}}
        gradient_clip: {choice: [null, 0.5]}
      sgd:
        optimizer: sgd
        learning_rate: {by: {gradient_clip: {"0.5": {float: [1.0e-2, 1.0], log: true}, "1.0": 0.1}}}
        gradient_clip: {choice: [0.5, 1.0]}
      plain: {optimizer: sgd, learning_rate: 0.3}
"""
RATE = "learning_rate: {float: [1.0e-4, 1.0e-2], log: true, prior: 1.0e-3}"
CLIP = "gradient_clip: {choice: [null, 0.5]}"


def read(text: str = TEXT) -> Space:
    return parse_space(text, "x.yaml")


def settings(space: Space, **values: Any) -> dict[str, Any]:
    """Return the settings of the classifier of a trial; parameters that are not named have their first value."""

    def value_of(parameter: Any) -> Any:
        domain = parameter.domain
        default = domain.low if hasattr(domain, "low") else domain.values[0]
        return values.get(parameter.name.removeprefix("classifier.").replace(".", "_"), default)

    return dict(space.settings(value_of)["classifier"])


def test_what_varies_in_a_group_is_drawn_beside_its_name_alone():
    space = read()
    assert settings(space) == {"optimizer": "adam", "learning_rate": 1e-4, "gradient_clip": None, "weight_decay": 1e-6}
    assert settings(space, adam_gradient_clip=0.5).keys() == {"optimizer", "learning_rate", "gradient_clip"}
    assert settings(space, adam_weight_decay_is_zero=True)["weight_decay"] == 0
    sgd = settings(space, classifier="sgd")
    assert sgd == {"optimizer": "sgd", "gradient_clip": 0.5, "learning_rate": 1e-2}
    assert settings(space, classifier="sgd", sgd_gradient_clip=1.0)["learning_rate"] == 0.1
    assert settings(space, classifier="plain") == {"optimizer": "sgd", "learning_rate": 0.3}
    assert {name for item in space.parameters if item.varies for name in settings_decided(item)} == {
        f"classifier.{key}" for key in ("optimizer", "learning_rate", "weight_decay", "gradient_clip")
    }


def test_a_group_without_ranges_is_what_it_was_and_a_changed_range_is_a_changed_space():
    plain = TEXT[: TEXT.index("      adam:")] + TEXT[TEXT.index("      plain:") :]
    before = content_of(read(plain))
    assert before["parameters.classifier"]["domain"].keys() == {"kind", "settings"}
    changed = changed_keys(
        content_of(read()), content_of(read(TEXT.replace("1.0e-2], log: true, prior", "0.1], prior")))
    )
    assert changed == ["parameters.classifier.adam.learning_rate"]
    assert changed_keys(content_of(read()), content_of(parse_launched_space(TEXT, "space.yaml", prior_draws=20))) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[1.0e-4, 1.0e-2]",
            "[1.0e-2, 1.0e-4]",
            ":9: parameters.classifier.choice.adam.learning_rate: low (0.01) must",
        ),
        ("learning_rate: {float: [1.0e-4", "learning_rat: {float: [1.0e-4", ":9: {}learning_rat: unknown key"),
        ("[1.0e-4, 1.0e-2], log: true", "[-1.0, 1.0e-2]", ":9: {}learning_rate.float[0]: must be greater than"),
        ("prior: 1.0e-3", "prior: 1.0", ":9: {}learning_rate.prior: must be a number in [0.0001, 0.01], not 1.0"),
        ("prior: 1.0e-3", "schedule: linear", ":9: {}learning_rate: must be a range, a choice of single values or"),
        ("{choice: [null, 0.5]}", "{choice: {a: {x: 1}}}", ":11: {}gradient_clip: must be a range, a choice of single"),
        ("when: {gradient_clip", "when: {gradient_clop", ":10: {}weight_decay.when.gradient_clop: unknown sibling"),
        ("      adam:\n", "      a-dam:\n", ":7: parameters.classifier.choice.'a-dam': 'a-dam' cannot name a group"),
        (CLIP, CLIP[:-1] + ", when: {learning_rate: 1}}", ":11: {}gradient_clip.when.learning_rate: a condition needs"),
        (CLIP, CLIP[:-1] + ", when: {gradient_clip: 1}}", ":11: {}gradient_clip.when.gradient_clip: unknown sibling"),
        (
            CLIP,
            CLIP[:-1] + ", when: {width: 8}}\n        width: {int: [7, 8], when: {gradient_clip: 0.5}}",
            ":11: {}gradient_clip.when: its condition leads back to itself",
        ),
        (
            CLIP,
            "gradient_clip: {by: {width: {'8': 0.5}}}\n        width: {by: {gradient_clip: {'0.5': 8}}}",
            ":11: {}gradient_clip.by.width: leads back to itself",
        ),
        (
            '"1.0": 0.1',
            '"2.0": 0.1',
            ":14: parameters.classifier.choice.sgd.learning_rate.by.gradient_clip: gradient_clip is",
        ),
        (
            "plain: {optimizer: sgd,",
            "plain: {optimiser: sgd,",
            ":16: parameters.classifier.choice.plain.optimiser: unknown",
        ),
    ],
)
def test_what_cannot_vary_in_a_group_is_a_mistake_with_its_line(old, new, message):
    with pytest.raises(SpaceError) as caught:
        read(TEXT.replace(old, new, 1))
    assert message.replace("{}", "parameters.classifier.choice.adam.") in str(caught.value)
    assert "must be a mapping" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("adam", {"": "adam"}),
        ({"adam": {"learning_rate": 1e-3}}, {"": "adam", "adam.learning_rate": 1e-3}),
        ({"adam": {"optimizer": "adam", "gradient_clip": 0.5}}, {"": "adam", "adam.gradient_clip": 0.5}),
        ({"sgd": {"learning_rate": 0.5}}, {"": "sgd", "sgd.learning_rate.0.5": 0.5}),
        (
            {"adam": {"weight_decay": 0, "gradient_clip": None}},
            {"": "adam", "adam.gradient_clip": None, "adam.weight_decay.is_zero": True},
        ),
    ],
)
def test_what_is_tried_first_names_a_group_and_the_values_in_it(first, expected):
    space = read(TEXT + f"first: [{json.dumps({'classifier': first})}]\n")
    assert space.first_parameters() == [{f"classifier.{key}".rstrip("."): value for key, value in expected.items()}]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (
            {"adam": {"learning_rate": 1.0}},
            "classifier.adam.learning_rate: must be a number in [0.0001, 0.01], not 1.0",
        ),
        ({"adam": {"optimizer": "sgd"}}, "classifier.adam.optimizer: must be 'adam', not 'sgd'"),
        ({"adam": {"width": 1}}, "classifier.adam.width: unknown parameter"),
        ({"lion": {}}, "classifier: must be one of adam, sgd, plain"),
        ({"plain": {"learning_rate": 0.3}}, "classifier: must be one of adam, sgd, plain"),
        ({"adam": {"weight_decay": 0.001, "gradient_clip": 0.5}}, "has no effect beside classifier.adam.gradient_clip"),
    ],
)
def test_what_no_group_has_cannot_be_tried_first(first, message):
    with pytest.raises(SpaceError) as caught:
        read(TEXT + f"first: [{json.dumps({'classifier': first})}]\n")
    assert message in str(caught.value)
    assert str(caught.value).startswith("x.yaml:17: first[0]")


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ({"optimizer": "adam", "learning_rate": 1e-3, "gradient_clip": None, "weight_decay": 0.0}, "adam"),
        ({"optimizer": "sgd", "learning_rate": 0.02, "gradient_clip": 0.5}, "sgd"),
        ({"optimizer": "sgd", "learning_rate": 0.3, "gradient_clip": None}, "plain"),
        ({"optimizer": "adam", "learning_rate": 0.5}, None),
        ({"optimizer": "sgd", "learning_rate": 0.2, "gradient_clip": None}, None),
        (0.1, None),
    ],
)
def test_the_group_is_found_that_settings_come_from(found, name):
    domain = read().parameters[0].domain
    assert isinstance(domain, Fragments)
    larger = {**found, "width": 16} if isinstance(found, dict) else found
    assert domain.name_of(larger, in_part=True) == name
    assert domain.name_of(larger, in_part=False) is None
    assert domain.name_of(found, in_part=False) == (name if name != "plain" else None)


def test_the_warm_up_in_a_group_counts_for_the_first_rung():
    text = TEXT.replace("standard", "pgd").replace("budget", "search: {pruner: median}\nbudget")
    group = "  attack: {choice: {short: {steps: 1, warmup: 0.1}, long: {steps: 2, warmup: {float: [0.2, 0.6]}}}}\n"
    assert read(text + group).search.pruner.first_rung == 12


def _value_of(values: dict[str, Any], parameter: Parameter) -> Any:
    return values[parameter.name]


def test_a_bundle_whose_run_was_drawn_from_the_space_is_tried_first():
    space = read()
    for number, drawn in enumerate(drawn_configurations(space, 12)):
        kept = f"first: [{{bundle: run}}]\nbundles: {{run: {json.dumps(drawn)}}}\n"
        values = read(TEXT + kept).first_parameters()[0]
        again = configuration_for(space, space.settings(partial(_value_of, values)), drawn["seed"])
        assert again == drawn, number
