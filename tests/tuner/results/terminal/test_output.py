"""YAML in a terminal: no wider, of the same content, and as it is where that cannot be."""

from __future__ import annotations

import pytest
from ruamel.yaml import YAML

from search_spaces import library
from tuner.results.terminal.output import fold_yaml


@pytest.mark.parametrize("name", library.names())
@pytest.mark.parametrize("width", [72, 80])
def test_packaged_spaces_fit_and_mean_the_same(name, width):
    text = library.text_of(name)[0].removesuffix("\n")
    folded = fold_yaml(text, width)
    assert max(map(len, folded.splitlines())) <= width
    assert YAML(typ="safe").load(folded) == YAML(typ="safe").load(text)
    assert set(text.split()) <= set(folded.split())
    assert fold_yaml(text, 200) == text


def test_a_paragraph_of_comment_is_wrapped_as_one():
    text = f"# {'long ' * 8}line,\n# which goes on here.\n# - an item\na: 1\n# short\n# lines\n"
    assert fold_yaml(text, 30).splitlines() == [
        "# long long long long long",
        "# long long long line, which",
        "# goes on here.",
        *("# - an item", "a: 1", "# short", "# lines"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "text: |\n  a line that must stay as long as it is, since its end is a part of what it means\n",
        "a: 'no # comment here, but this one # is in quotes and much too long for the terminal at hand'",
        "a: [1, 2\nb: # a mistake in a file with a comment that is longer than the terminal is wide, by far",
    ],
)
def test_what_would_change_is_left_as_it_is(text):
    assert fold_yaml(text, 60) == text
