"""YAML texts: what plain scalars mean, and every way in which a text is refused before its grammar is looked at."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.errors import Mistake, SpaceError
from search_spaces.parsing.reader import read
from search_spaces.parsing.yaml_document import MAX_BYTES, parse


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("-3", -3),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("nan", "nan"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("[1, two]", [1, "two"]),
        ("8/255", 8 / 255),
        ("'8/255'", 8 / 255),
        ("0.5 / 2", 0.25),
        ("8/", "8/"),
        ("a/255", "a/255"),
        ("1/2/3", "1/2/3"),
    ],
)
def test_values_follow_yaml_1_2(word, value):
    document = parse(f"key: {word}")
    assert document.mistakes == ()
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "fragment"),
    [
        ("a: 1\nb: [1, 2\n", 3, "not valid YAML"),
        ("a: 1\n b: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: @\n", 2, "not valid YAML"),
        ("a: 1\nb: \x01\n", 2, "not valid YAML"),
        ('a: "\\U00110000"\n', None, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "a second one starts here"),
        ("a: 1\nb: 2\na: 3\n", 3, "given twice: it already stands on line 1"),
        ("a: 1\nb: &x 2\n", 2, "the anchor &x is not allowed"),
        ("a: 1\nb: *x\n", 2, "the alias *x is not allowed"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "is not allowed: write the plain value"),
        ("a: 1\nb: .inf\n", 2, "must be a finite number"),
        ("a: 1\nb: 8/0\n", 2, "8/0 divides by zero"),
        ("a: 1\nb: .nan\n", 2, "must be a finite number"),
        ("a: 1\nb: 1e999\n", 2, "must be a finite number"),
        (f"a: 1\nb: {'9' * 5000}\n", 2, "must be below 2**63"),
        ("a: 1\n2: b\n", 2, "a key must be text, not 2"),
        ("a: 1\n[b]: c\n", 2, "a key must be text"),
        ('a: "\\ud800"\n', 1, "half of a surrogate pair"),
        ("[" * 50_000, 1, "nested more than 16 levels deep"),
        ("{" * 50_000, 1, "nested more than 16 levels deep"),
        ("- a\n" * 20_000, 4000, "more than 4,000 keys and values"),
        ("a" * (MAX_BYTES + 1), None, "must be below 100,000 bytes"),
    ],
)
def test_each_mistake_is_told_with_its_line_and_soon(text, line, fragment):
    start = time.process_time()
    mistakes = parse(text).mistakes
    assert time.process_time() - start < 2
    assert any(mistake.line == line and fragment in mistake.message for mistake in mistakes), mistakes


def test_keys_and_the_description_are_text_though_they_look_like_fractions():
    document = parse("description: 8/255\nchoice: {2/255: {epsilon: 2/255}}\n")
    assert document.mistakes == ()
    assert document.data == {"description": "8/255", "choice": {"2/255": {"epsilon": 2 / 255}}}


def test_all_duplicates_and_aliases_are_found_at_once():
    mistakes = parse("a: &x {b: 1, b: 2}\nc: *x\nc: 3\nd: [*x, .nan]\n").mistakes
    assert [mistake.line for mistake in mistakes] == [1, 1, 2, 3, 4, 4]


def test_a_bomb_of_aliases_is_refused_without_being_built():
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(SpaceError, match=r"the alias \*l1 is not allowed"):
        read("\n".join(["l0: &l0 [boom]", *levels]), "bomb.yaml")


def test_a_line_is_that_of_the_nearest_key_around():
    document = parse("a:\n  b: 1\n  c:\n    - x\n    - y\n")
    assert document.line(("a", "c", 1)) == 5
    assert document.line(("a", "c", "missing", "deeper")) == 3
    assert document.line(("missing",)) == 1


def test_what_follows_from_an_unreadable_value_is_not_told():
    document = parse("a: *x\nb: 1\n")
    kept = document.located([Mistake(None, ("a", "deep"), "follows"), Mistake(None, ("b",), "stays")])
    assert kept == [Mistake(2, ("b",), "stays")]


def test_an_error_lists_every_mistake_once_in_the_files_order():
    mistakes = [Mistake(9, ("b", 0, "x y"), "late"), Mistake(None, (), "nowhere"), Mistake(2, ("a",), "early")]
    error = SpaceError("my.yaml", [*mistakes, *mistakes])
    assert str(error).splitlines() == ["my.yaml: nowhere", "my.yaml:2: a: early", "my.yaml:9: b[0].'x y': late"]


@settings(deadline=None)
@given(st.text() | st.text(alphabet="ab:-[]{}&*!|>'\"%#@? \n\t01.e"))
def test_no_text_raises_anything_but_a_space_error(text):
    with pytest.raises(SpaceError) as caught:
        read(text, "random.yaml")
    assert all(line.startswith("random.yaml") for line in str(caught.value).split("\n"))
