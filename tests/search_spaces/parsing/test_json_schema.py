"""The JSON schema of a space file takes what the reader takes, and refuses keys and values that no space has."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from search_spaces.library import names, text_of
from search_spaces.parsing.json_schema import json_schema
from search_spaces.parsing.yaml_document import parse
from search_spaces.sections import keys_of
from trainables.config import CONFIGURATIONS

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHOWN = [text for page in PAGES for text in re.findall(r"```yaml\n(name: .*?)```", page.read_text(), flags=re.DOTALL)]
QUICK = parse(text_of("quick")[0]).data


def mistakes(content: object) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(content)]


def test_it_is_one():
    Draft202012Validator.check_schema(SCHEMA)


# A space of a plug-in's recipe needs the plug-in, whose name the schema has where it is installed.
OF_KNOWN_RECIPES = [text for text in SHOWN if parse(text).data["trainable"] in CONFIGURATIONS]


@pytest.mark.parametrize("text", [*(text_of(name)[0] for name in names()), *OF_KNOWN_RECIPES])
def test_it_takes_every_space_that_is_packaged_or_shown(text):
    assert mistakes(parse(text).data) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("budgte",), {}),
        (("budget", "compute"), "much"),
        (("budget", "compute"), -1),
        (("budget", "time"), "2 days"),
        (("trainable",), "gna"),
        (("resources",), {"pack": "all"}),
        (("resources",), {"pack": 0}),
        (("search", "sampler"), "tpee"),
        (("search", "pruner"), "halving"),
        (("objective", "mode"), "maximum"),
        (("parameters", "batchsize"), 32),
        (("parameters", "generator", "widht"), 32),
        (("parameters", "generator", "loss"), "wrong"),
        (("parameters", "generator", "width"), {"int": [1, 2, 3]}),
        (("parameters", "generator", "width"), {"ints": [1, 2]}),
    ],
)
def test_what_no_space_has_is_refused(path, value):
    content = deepcopy(QUICK)
    *around, key = path
    inner = content
    for name in around:
        inner = inner[name]
    inner[key] = value
    assert mistakes(content)


def test_it_takes_fractions_and_what_a_launch_writes():
    fraction = {**QUICK, "evaluation": {"epsilon": "8/255"}, "first": ["paper_constant_2", {"bundle": "b"}]}
    assert mistakes(fraction) == []
    for pack in ("auto", 1, 16):
        assert mistakes({**QUICK, "resources": {"pack": pack}}) == []
    assert mistakes({**QUICK, "code": {"net.py": "0" * 64}, "bundles": {"b": {"trainable": "gan"}}}) == []


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_setting_of_a_recipe_is_described(name):
    shared = {"trainable", "dataset", "evaluation", "seed", "code"}
    properties = SCHEMA["$defs"][f"parameters_{name}"]["properties"]
    assert properties.keys() == set(keys_of(CONFIGURATIONS[name])) - shared
    assert [key for key, schema in properties.items() if not schema.get("description")] == []
