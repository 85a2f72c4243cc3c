"""Spaces in which something was changed at random: each is read, or refused in words with the lines of its mistakes."""

from __future__ import annotations

import copy
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import SpaceError, names, text_of
from search_spaces.configurations import configuration_for, parse_space
from search_spaces.parsing.yaml_document import parse
from search_spaces.schema import Space
from trainables.config import CONFIGURATIONS

TEXTS = [text_of(name)[0] for name in names()]
CONTENTS = [parse(text).data for text in TEXTS]
KEYS = [
    "float",
    "int",
    "choice",
    "by",
    "log",
    "step",
    "or_zero",
    "when",
    "min_resource",
    "warmup",
    "class",
    "args",
    "schedule",
    "knots",
    "at",
    "kind",
    "values",
    "steps",
    "published",
]
ODD = [None, True, 0, -1, 10**9, 2**62, -(2**63), 0.5, 1e-300, 1e300, "", "8/255", "1/0", "nan", "constant", "x" * 300]
NEW = ["", "\t", ":", "- ", "{", "]", "'", '"', "#", "&a", "*a", "!!x ", "\n", "1e999", "\0"]
SCALARS = st.sampled_from(ODD)
VALUES = st.recursive(
    SCALARS | st.sampled_from([*CONFIGURATIONS, "mnist", "robust", "grid", "paper_adaptive"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


def refused_or_fine(text: str) -> Space | None:
    try:
        return parse_space(text, "my.yaml")
    except SpaceError as error:
        message = str(error)
    assert all(line.startswith("my.yaml") for line in message.split("\n"))
    return None


def places(content: object, path: tuple = ()) -> list[tuple]:
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(CONTENTS), st.data())
def test_a_space_with_other_values_is_refused_in_words_or_can_be_trained(content, data):
    content = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 3))):
        *path, key = data.draw(st.sampled_from(places(content)[1:]))
        around = content
        for step in path:
            around = around[step]
        match data.draw(st.sampled_from(["replace", "remove", "rename"])):
            case "remove":
                del around[key]
            case "rename" if isinstance(around, dict):
                around[data.draw(st.sampled_from(KEYS))] = around.pop(key)
            case _:
                around[key] = data.draw(VALUES)
        if not content:
            break
    space = refused_or_fine(json.dumps(content, indent=1))
    if space is not None:
        for end in (0, -1):
            configuration_for(space, space.settings(lambda parameter, end=end: ends(parameter.domain)[end]), 0)


def ends(domain: object) -> tuple:
    return domain.values if hasattr(domain, "values") else (domain.low, domain.high)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(TEXTS), st.data())
def test_a_text_with_other_characters_is_refused_in_words_or_read(text, data):
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(text)))
        end = min(len(text), begin + data.draw(st.sampled_from([0, 1, 1, 5, 200])))
        new = data.draw(st.sampled_from(NEW))
        text = text[:begin] + new + text[end:]
    refused_or_fine(text)
