"""Radii as papers write them are numbers: fractions, decimal numbers, and fractions inside JSON."""

import pytest

from trainables.attacks.radii import parse_fraction, parse_json, parse_radius


@pytest.mark.parametrize(
    ("text", "number"),
    [("8/255", 8 / 255), (" 8 / 255 ", 8 / 255), ("0.5/2", 0.25), ("0.3", 0.3), ("3e-1", 0.3), ("1", 1.0)],
)
def test_a_radius_is_a_number(text, number):
    assert parse_radius(text) == number


@pytest.mark.parametrize(
    "text", ["8/0", "8/0.0", "eight", "", "8/255/2", "8//255", "/255", "8/", "-8/-255", "9" * 99 + "/3"]
)
def test_what_is_no_radius(text):
    with pytest.raises(ValueError, match=r"divides by zero|a number like"):
        parse_radius(text)


@pytest.mark.parametrize("text", ["0.3", "eight", "a/b", "exports/8/255", "2026/11/27"])
def test_other_texts_are_no_fractions(text):
    assert parse_fraction(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        ("[0, 8/255]", [0, 8 / 255]),
        ('{"kind": "linear", "values": [2/255,8/255]}', {"kind": "linear", "values": [2 / 255, 8 / 255]}),
        ('["8/255", 1]', ["8/255", 1]),
    ],
)
def test_fractions_inside_json(text, value):
    assert parse_json(text) == value


@pytest.mark.parametrize("text", ["small_cnn", "8/0", "runs/8/255", "8/255px"])
def test_what_is_no_json(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)
