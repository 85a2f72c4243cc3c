"""Every table in real terminals of four widths: numbers whole, no word cut, what is left out is named."""

from __future__ import annotations

import re

import pytest

from tests.support.terminals import in_pipe, in_terminals
from tests.tuner.conftest import SPACE, train_all
from tests.tuner.results.test_confirmation import confirm
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder

WIDTHS = (72, 80, 100, 120)
LONG = "a_baseline_with_a_name_that_is_much_too_long_for_a_column"
COMMANDS = [
    ["compare", "tiny", "--home", "."],
    ["compare", "tiny", "tiny-2", "--home", "."],
    ["watch", "tiny", "--home", "."],
    ["status", "--home", "."],
    ["status", "tiny", "--home", "."],
    ["trials", "tiny", "--home", ".", "--format", "table"],
    ["show", "tiny", "3", "--home", "."],
    ["replay", "tiny", "--home", ".", "--pruner", "median"],
    ["spaces", "list"],
    ["spaces", "show", "gan"],
    ["spaces", "show", "madry_2018"],
    ["data"],
    ["launch", "quick", "--trials", "many"],
    ["compare", "tiny", "--format", "xml"],
    ["trials"],
]
LEFT_OUT = re.compile(r"Left out, for want of room in \d+ columns: (.*?); a wider terminal.*?shows? them\.")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of two sweeps, one of them confirmed; names are long, and one baseline is called a trainable's name."""
    folder = tmp_path_factory.mktemp("home")
    text = SPACE.replace(
        "[standard, fgsm_retraining]", f"[standard, fgsm_retraining, {{name: {LONG}, trainable: pgd}}]"
    )
    sweep = SweepFolder.create("tiny", text, "tiny.yaml", home=folder)
    train_all(Ledger(sweep))
    numbers = [0.5, 0.52, 0.51]
    names = ["trial-0003", "trial-0002", "trial-0001", *(f"baseline-{one.name}" for one in sweep.space.baselines)]
    confirm(sweep, {name: [value + 0.05 * (name == "trial-0003") for value in numbers] for name in names})
    SweepFolder.create("tiny-2", SPACE, "tiny.yaml", home=folder)
    return folder


@pytest.fixture(scope="module")
def piped(home):
    return in_pipe(COMMANDS, home)


@pytest.fixture(scope="module")
def screens(home):
    return in_terminals(COMMANDS, WIDTHS, home)


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_are_whole_and_no_word_is_cut(screens, piped, width):
    assert len(screens[width]) == len(COMMANDS)
    for command, screen, whole in zip(COMMANDS, screens[width], piped, strict=True):
        assert screen, command
        if command[0] != "show":  # paths are longer
            assert max(map(len, screen.splitlines())) <= width, command
        words = {*whole.split(), *(("run", "trainable", "state") if command[0] == "watch" else ())}  # its headings
        flat = " ".join(screen.split())
        told = {word for name in LEFT_OUT.findall(flat) for word in name.replace(",", " ").split()}
        rest = LEFT_OUT.sub("", flat)
        cut = [word for word in rest.split() if word not in words and "…" not in word and not set(word) <= {"─"}]
        assert cut == [], command
        assert told <= {word.strip(",") for word in words}, command
        shortened = [word for word in rest.split() if "…" in word]
        assert not [word for word in shortened if re.fullmatch(r"[\d.,%()+-]*…[\d.,%()+-]*", word)], command


def test_a_table_that_does_not_fit_says_what_is_missing_and_can_be_asked_for_it(screens, piped, home, run):
    missing = LEFT_OUT.findall(" ".join(screens[72][0].split()))[0]
    assert "seconds" in missing
    assert "robust" not in missing
    assert "`--columns`" in screens[72][0]
    assert LONG in piped[0]
    assert "Left out" not in piped[0]
    lines = run("compare", "tiny", "--home", str(home), "--columns", "run,seconds,robust")[1].splitlines()
    assert lines[1].split() == ["run", "seconds", "robust"]
    assert lines[3].split() == ["trial-0003", "*", "2", "40.0"]


def test_numbers_add_up(screens):
    assert "4 of 4 trials complete; 3 baselines." in screens[80][0]
    rest = "0 of 4 trials complete, 4 to come; 0 of 2 baselines complete, 2 to come"
    assert rest.split() == [
        word for word in screens[120][3].split("tiny-2")[1].split() if word not in ("interrupted", "-")
    ]
