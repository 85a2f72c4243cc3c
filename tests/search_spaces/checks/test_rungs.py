"""From when on trials are compared: not while one of them may still warm up or be pretrained, unless accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from search_spaces.checks.assignments import assign
from search_spaces.configurations import load_space, parse_launched_space, parse_space
from search_spaces.errors import SpaceError
from search_spaces.library import names, text_of
from search_spaces.parameters import is_number

RANGE = {"float": [0.0, 0.5]}


def text(trainable: str, parameters: dict[str, Any], compute: float = 20, pruner: object = None, **search: Any) -> str:
    """Return a space as lines, so that a mistake has a line of its own."""
    search = {"sampler": "random", "pruner": pruner or "successive_halving", **search}
    head = {"name": "mine", "trainable": trainable, "budget": {"trials": 9, "compute": compute}, "search": search}
    return json.dumps({**head, "parameters": parameters}, indent=1)


def rung(content: str) -> float:
    chosen = parse_space(content, "x.yaml").search.pruner.chosen
    assert chosen is not None
    assert is_number(chosen[1].min_resource)
    return chosen[1].min_resource


@pytest.mark.parametrize(
    ("trainable", "parameters", "expected"),
    [
        ("standard", {}, 1),  # neither warm-up nor pretraining: the first report
        ("standard", {"report_every": 0.25}, 0.25),
        ("fgsm_retraining", {}, 1),
        ("pgd", {}, 10),  # its own default is a warm-up of 0.3
        ("pgd", {"attack": {"warmup": 0.0}}, 1),
        ("trades", {"attack": {"warmup": RANGE}}, 10),
        ("pgd", {"attack": {"warmup": {"choice": [0.1, 0.62]}}}, 13),
        ("pgd", {"attack": {"warmup": 0.62}, "report_every": 0.5}, 12.5),
        ("pgd", {"attack": {"warmup": 0.42}, "report_every": 3.0}, 9),  # nearest to half
        ("pgd", {"attack": {"warmup": 0.1}, "report_every": 4.0}, 12),  # of two that are equally near the later one
        ("fgsm_random_start", {"attack": {"warmup": {**RANGE, "when": {"steps": 2}}, "steps": {"int": [1, 2]}}}, 10),
        ("pgd", {"attack": {"warmup": {"float": [0.0, 0.1], "when": {"steps": 2}}, "steps": {"int": [1, 2]}}}, 10),
        ("gan", {}, 2),  # after a pretraining of 1 nothing robust is trained yet
        ("gan", {"pretrain": {"float": [0.0, 2.5]}}, 3),
        ("gan", {"pretrain": 3, "generator": {"warmup": 0.1}}, 10),
        ("gan", {"pretrain": 12, "generator": {"warmup": 0.1}}, 13),
        ("gan", {"pretrain": 0, "generator": {"choice": {"a": {"warmup": 0.2}, "b": {"warmup": 0.6}}}}, 12),
        ("gan", {"pretrain": 0, "generator": {"choice": {"a": {"width": 16}, "b": {"width": 8}}}}, 1),
        ("gan", {"generator": {"warmup": 1.0}}, 20),  # nothing is left to compare
        ("pgd", {"attack": {"warmup": 0.1}, "compute": {"float": [10, 20]}}, 10),
    ],
)
def test_the_first_rung_is_the_first_report_after_warm_up_and_pretraining_and_near_half_where_trials_warm_up(
    trainable, parameters, expected
):
    for pruner in ("successive_halving", {"hyperband": {"reduction_factor": 2}}, {"median": {"startup_trials": 3}}):
        assert rung(text(trainable, parameters, pruner=pruner)) == expected


def test_a_packaged_space_may_be_given_another_compute():
    for compute, expected in ((2.5, 1), (10, 5), (40, 20)):
        assert rung(assign(*text_of("quick"), [f"budget.compute={compute}"])) == expected


def test_a_warm_up_of_0_55_of_twenty_ends_at_eleven():
    assert rung(text("pgd", {"attack": {"warmup": 0.55}}, compute=20)) == 11  # 0.55 * 20 is more than 11


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband", "median"])
@pytest.mark.parametrize(
    ("trainable", "parameters", "early", "late", "what"),
    [
        ("pgd", {"attack": {"warmup": RANGE}}, 9, 10, "their warm-up may last until 10"),
        ("pgd", {}, 5, 5.5, "their warm-up may last until 6"),  # 5.5 is judged at the report of 6
        ("gan", {"pretrain": 4}, 3, 4, "their pretraining may last until 4"),
    ],
)
def test_an_early_rung_is_a_mistake_with_its_line(pruner, trainable, parameters, early, late, what):
    content = text(trainable, parameters, pruner={pruner: {"min_resource": early}})
    with pytest.raises(SpaceError, match=what) as caught:
        parse_space(content, "x.yaml")
    (mistake,) = caught.value.mistakes
    assert mistake.line == content[: content.index("min_resource")].count("\n") + 1
    assert "leave min_resource out (it is then " in mistake.message
    assert rung(text(trainable, parameters, pruner={pruner: {"min_resource": late}})) == late
    accepted = text(trainable, parameters, pruner={pruner: {"min_resource": early}}, accept_early_rungs=True)
    assert rung(accepted) == early


@pytest.mark.parametrize("accept", ["yes", 1, None])
def test_early_rungs_are_accepted_in_one_word_only(accept):
    with pytest.raises(SpaceError, match="accept_early_rungs"):
        parse_space(text("pgd", {}, pruner={"median": {"min_resource": 1}}, accept_early_rungs=accept), "x.yaml")


def test_a_wrong_warm_up_is_the_only_mistake():
    content = text("pgd", {"attack": {"warmup": {"float": [0.5, 0.1]}}}, pruner={"median": {"min_resource": 1}})
    with pytest.raises(SpaceError) as caught:
        parse_space(content, "x.yaml")
    assert [mistake.path for mistake in caught.value.mistakes] == [("parameters", "attack", "warmup")]


def test_a_sweep_that_exists_keeps_its_early_rung():
    early = text("pgd", {}, pruner={"median": {"min_resource": 1}})
    space = parse_launched_space(early, "space.yaml")
    assert space.search.pruner.median is not None
    assert space.search.pruner.median.min_resource == 1
    for name, default in (("successive_halving", 1), ("hyperband", 1), ("median", 0)):
        chosen = parse_launched_space(text("pgd", {}, pruner=name), "space.yaml").search.pruner.chosen
        assert chosen is not None
        assert chosen[1].min_resource == default  # that of earlier releases


@pytest.mark.parametrize("name", names())
def test_no_packaged_space_compares_trials_that_still_warm_up(name):
    space = load_space(name)
    if (chosen := space.search.pruner.chosen) is not None:
        least = {"gan": 20, "fashion": 20, "pgd": 30, "trades": 30, "fgsm_random_start": 10, "cifar10": 100}.get(
            name, 1
        )
        assert chosen[1].min_resource >= least
        assert chosen[1].min_resource < space.budget.compute
