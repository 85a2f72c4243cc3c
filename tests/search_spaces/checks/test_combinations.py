"""Values that are valid alone and not together: what is found, and at what cost."""

from __future__ import annotations

import json
import time

import pytest

from search_spaces import SpaceError
from search_spaces.configurations import parse_space


def check(**parameters):
    content = {"name": "x", "trainable": "gan", "budget": {"trials": 4, "compute": 2}, "parameters": parameters}
    return parse_space(json.dumps(content), "x.yaml")


def choice_of(*values):
    return {"choice": list(values)}


@pytest.mark.parametrize(
    ("seconds", "parameters"),
    [
        (
            0.5,
            {
                "batch_size": choice_of(*range(1, 601)),
                "clean_weight": choice_of(*(number / 600 for number in range(600))),
            },
        ),
        (
            1.5,
            {
                "ratio": {"choice": {f"ratio_{turns}": {"generator_turns": turns} for turns in range(1, 601)}},
                "batch_size": choice_of(*range(1, 601)),
            },
        ),
    ],
    ids=["values", "groups of settings"],
)
def test_two_choices_of_600_are_checked_in_time(seconds, parameters):
    began = time.process_time()
    check(**parameters)
    assert time.process_time() - began < seconds


@pytest.mark.parametrize(
    "parameters",
    [
        {"pretrain": choice_of(0.5, *(number / 100 for number in range(1, 50)), 3, 1)},
        {
            "pretrain": choice_of(0.1, *(number / 1000 for number in range(101, 150)), 1.5, 0.2),
            "compute": choice_of(2, *(2 - number / 1000 for number in range(1, 50)), 1, 1.9),
        },
    ],
)
def test_in_long_choices_the_largest_and_smallest_numbers_are_tried_together(parameters):
    with pytest.raises(SpaceError, match="must be below compute"):
        check(**parameters)


def test_every_label_is_tried_with_every_other_one_and_with_none():
    labels = choice_of(*range(10), None)
    with pytest.raises(SpaceError, match="source and target must be different labels, both are 4"):
        check(generator={"goal": "source_to_target", "source": 4, "target": choice_of(*range(10))})
    with pytest.raises(SpaceError, match="target is missing"):
        check(generator={"goal": "targeted", "target": labels})


def test_a_value_that_stands_twice_in_a_choice_is_told_once():
    with pytest.raises(SpaceError) as caught:
        check(batch_size=choice_of(1, [2], 1, 3))
    assert [mistake.message.split(":")[0] for mistake in caught.value.mistakes] == [
        "must be a number, text, true, false or null; to choose among lists or mappings, name them",
        "1 stands twice in the choice",
    ]
