"""A sweep whose space was edited after its launch: refused by whatever would train, and said by whatever reads."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from tests.tuner.conftest import SPACE, train_all
from tuner.errors import UserError
from tuner.execution.confirm import ConfirmOptions, confirm
from tuner.execution.launch import prepare_resume
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder

EDIT = ("watch_images: 50", "epsilon: 0.1, watch_images: 50")


def content(sweep: SweepFolder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sweep.folder.rglob("*") if path.is_file()}


@pytest.fixture
def edited(make_sweep):
    """Return the command line's arguments for a sweep of which some runs were trained before its space was edited."""
    sweep = make_sweep()
    train_all(Ledger(sweep))
    (sweep.folder / "space.yaml").write_text(SPACE.replace(*EDIT))
    return sweep


def test_it_is_refused_with_the_keys_before_anything_is_made(edited, run):
    before = content(edited)
    for more in ([], ["--trials", "9"], ["--detach"], ["--max-concurrent", "1"]):
        code, output = run("resume", "tiny", "--home", ".", *more)
        assert (code, "(evaluation.epsilon)" in output) == (2, True)
        assert "`tuner launch NEW.yaml --warm-start tiny`" in output
    code, output = run("confirm", "tiny", "--home", ".")
    assert (code, "(evaluation.epsilon)" in output) == (2, True)
    sweep = SweepFolder.open("tiny", home=edited.folder.parent)
    with pytest.raises(UserError, match=r"evaluation\.epsilon"):
        confirm(sweep, Console(quiet=True), ConfirmOptions())
    assert content(edited) == before


def test_what_reads_says_it_in_a_line_and_shows_the_numbers_of_what_was_launched(edited, run, caplog):
    sweep = SweepFolder.open("tiny", home=edited.folder.parent)
    assert sweep.space.evaluation.epsilon == 0.3
    assert sweep.edited_keys == ("evaluation.epsilon",)
    assert "was edited after the launch (evaluation.epsilon)" in caplog.text
    assert run("compare", "tiny", "--home", ".")[0] == 0


def test_the_number_of_trials_is_not_changed_by_the_file(make_sweep, run):
    sweep = make_sweep()
    (sweep.folder / "space.yaml").write_text(SPACE.replace("trials: 4", "trials: 8"))
    code, output = run("resume", "tiny", "--home", ".")
    assert (code, "`tuner resume tiny --trials N`" in output) == (2, True)


def test_what_changes_no_run_is_taken_over_and_said(make_sweep, capsys):
    sweep = make_sweep()
    text = SPACE.replace("a space for tests", "other words") + "confirm: {top: 2}\nbudget: {trials: 4, compute: 3}\n"
    text = text.replace("budget: {trials: 4, compute: 3}\nsearch", "search")
    (sweep.folder / "space.yaml").write_text(text.replace("compute: 3}", "compute: 3, time: 2h}"))
    prepare_resume(SweepFolder.open("tiny", home=sweep.folder.parent), Console())
    assert "taken over: budget.time, confirm.top" in capsys.readouterr().out
    assert json.loads((sweep.folder / "sweep.json").read_text())["space"]["content"]["budget.time"] == 7200.0
    prepare_resume(SweepFolder.open("tiny", home=sweep.folder.parent), Console())
    assert "taken over" not in capsys.readouterr().out


def test_a_space_that_was_put_back_goes_on(edited):
    (edited.folder / "space.yaml").write_text(SPACE)
    sweep = SweepFolder.open("tiny", home=edited.folder.parent)
    assert prepare_resume(sweep, Console(quiet=True), trials=5).num_trials == 5
