"""How tables fit: numbers are whole whatever the width, names stay different, the least important column goes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import UserError
from tuner.results.terminal.columns import Column, Row, Table, cells, plain
from tuner.results.terminal.layout import GAP, fit, shorten

COLUMNS = (
    Column("run", "run", "name"),
    Column("note", "a note of words", "words", rank=1),
    Column("robust", "robust", better="max"),
    Column("compute", "compute", rank=2, better="min"),
)


def table(*names, columns=COLUMNS):
    rows = [{"run": name, "note": "some words here", "robust": 12.25, "compute": len(name)} for name in names]
    return Table("a table", columns, tuple(Row(values) for values in rows))


def widths(shown, width):
    layout = fit(shown.columns, cells(shown), width)
    return [(shown.columns[index].key, size) for index, size in layout.shown]


def test_without_a_limit_everything_has_its_natural_width():
    assert widths(table("a-name-of-20-letters"), None) == [("run", 20), ("note", 15), ("robust", 6), ("compute", 7)]


def test_words_and_names_shrink_before_columns_go_by_rank():
    shown = table("a-name-of-20-letters")
    assert widths(shown, 20 + 5 + 6 + 7 + 3 * GAP) == [("run", 12), ("note", 13), ("robust", 6), ("compute", 7)]
    assert [key for key, _ in widths(shown, 30)] == ["run", "note", "robust"]
    assert [key for key, _ in widths(shown, 25)] == ["run", "robust"]
    assert [key for key, _ in widths(shown, 3)] == ["run", "robust"]


def test_a_path_is_folded_before_a_table_becomes_too_wide():
    path = "/a/long/path" * 10
    columns = (Column("run", "run", "name"), Column("where", "where", "words"))
    shown = Table("", columns, (Row({"run": "name", "where": f"in {path}"}),))
    assert widths(shown, 72) == [("run", 4), ("where", 72 - 4 - GAP)]
    assert widths(shown, 30)[1] == ("where", 40)


@given(st.lists(st.from_regex(r"[a-z]{1,4}-[0-9]{1,30}\Z"), min_size=1, max_size=8, unique=True), st.integers(1, 120))
def test_different_names_stay_different_and_numbers_whole(names, width):
    layout = fit(COLUMNS, cells(table(*names)), width)
    sizes = dict(layout.shown)
    assert len({shorten(name, sizes[0]) for name in names}) == len(names)
    assert sizes[2] == len("robust")
    assert layout.width <= max(width, sizes[0] + GAP + sizes[2])


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=40), st.integers(5, 40))
def test_a_shortened_name_keeps_both_ends(name, width):
    short = shorten(name, width)
    assert short == name or (name.startswith(short.split("…")[0]) and name.endswith(short.split("…")[1]))


def test_columns_are_chosen_by_key_heading_or_setting():
    rows = (Row({"run": "a", "robust": 0.5, "settings.generator.width": 4}),)
    shown = Table("", (Column("run", "name of a run", "name"),), rows).chosen(
        ["Name of a run", "robust", "generator.width"]
    )
    assert cells(shown) == [["a", "50.0", "4"]]
    assert shown.keys() == ["run", "robust", "settings.generator.width"]
    with pytest.raises(UserError, match=r"no column 'rbust'; did you mean 'robust'\? There are"):
        table("a").chosen(["rbust"])
    with pytest.raises(UserError, match=r"did you mean 'generator\.width'"):
        Table("", (), rows).chosen(["generator.widht"])


def test_sorting_puts_the_best_first_and_gaps_last():
    shown = table("bb", "a", "ccc")
    empty = Row({"run": "d", "robust": None, "compute": None})
    shown = Table("", COLUMNS, (empty, *shown.rows))
    assert [row.values["run"] for row in shown.sorted_by("compute").rows] == ["a", "bb", "ccc", "d"]
    assert [row.values["run"] for row in shown.sorted_by("-compute").rows] == ["ccc", "bb", "a", "d"]
    assert [row.values["run"] for row in shown.sorted_by("run").rows] == ["a", "bb", "ccc", "d"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (11170.0, "11170"),
        (0.00012345, "0.0001234"),
        (2.5e-6, "2.5e-06"),
        (3.0e12, "3e+12"),
        (2766.0, "2766"),
        (None, "-"),
    ],
)
def test_numbers_have_a_few_digits_and_no_exponent_where_a_person_counts(value, text):
    assert plain(value) == text
