"""From which step on past curves judge rightly, what `replay` says of it, and what a warm start makes of it."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
from rich.console import Console

from search_spaces.configurations import names_first_rung, parse_space, with_named_rung
from tests.tuner.conftest import row
from tuner.execution.launch import LaunchOptions, new_sweep
from tuner.results.judging import Curve, judge_curves, judgement_sentences
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder

STEPS = 8
TEXT = """\
name: warm
trainable: gan
dataset: {name: digits, validation: 200}
budget: {trials: 24, compute: 8}
search: {sampler: tpe, pruner: none}
parameters:
  pretrain: 0.5
  generator: {warmup: {float: [0.1, 0.25]}}
  clean_weight: {float: [0.0, 1.0]}
"""
HALVING = TEXT.replace("pruner: none", "pruner: {successive_halving: {reduction_factor: 2}}")


def curve(end: float, begin: int, dice: random.Random) -> Curve:
    """Return a curve that is noise before a step, and from then on what it comes to."""
    values = {step: end if step >= begin else dice.random() for step in range(1, STEPS)}
    return Curve(values, {step: float(step) for step in values}, end)


def curves(number: int, begin: int) -> list[Curve]:
    dice = random.Random(number)
    return [curve(index / number, begin, dice) for index in range(number)]


@pytest.mark.parametrize("begin", [1, 3, 7])
def test_the_first_step_that_judges_rightly_is_found(begin):
    judgement = judge_curves(curves(40, begin))
    assert judgement.first_right is not None
    assert judgement.first_right.step == begin
    assert f"From step {begin} (a compute of {begin}) on" in judgement_sentences(judgement)[0]
    assert [step.trials for step in judgement.steps] == [40] * (STEPS - 1)


def test_of_few_curves_and_of_noise_nothing_is_said():
    assert judge_curves(curves(19, 1)).first_right is None
    assert "20 are needed" in judgement_sentences(judge_curves(curves(19, 1)))[0]
    assert judge_curves(curves(40, 8)).first_right is None
    assert "No step ranks the 40 trials" in judgement_sentences(judge_curves(curves(40, 8)))[0]
    assert judge_curves([]).steps == ()


def test_curves_that_tell_the_best_from_each_other_only_later_are_not_judged_by_all():
    """The whole is ranked from step 2 on, but the best quarter only from step 5 on."""
    dice = random.Random(0)
    few = [curve(0.9 + index / 1000, 5, dice) for index in range(10)]
    few = [Curve({**one.reports, **dict.fromkeys((2, 3, 4), 0.9 - one.end / 10)}, one.compute, one.end) for one in few]
    judgement = judge_curves([*few, *(curve(index / 100, 2, dice) for index in range(30))])
    second, right = judgement.steps[1], judgement.first_right
    assert second.correlation is not None
    assert second.correlation > 0.8
    assert second.among_best == pytest.approx(-1.0)
    assert right is not None
    assert right.step == 5


def test_equal_reports_cannot_be_ranked():
    judgement = judge_curves([Curve({1: 0.0, 2: 0.5}, {1: 1.0, 2: 2.0}, float(end)) for end in range(20)])
    assert [step.correlation for step in judgement.steps] == [None, None]
    assert judgement.first_right is None


def train_earlier(folder: Path, begin: int = 4, text: str = TEXT) -> SweepFolder:
    sweep = SweepFolder.create("earlier", text, "a.yaml", home=folder)
    ledger, dice = Ledger(sweep), random.Random(1)
    for run in iter(ledger.next_run, None):
        end = run.settings["clean_weight"]
        for step in range(1, STEPS):
            ledger.report(run.key, row(step, end if step >= begin else dice.random()))
        ledger.complete(run.key, row(STEPS, end))
    return sweep


def test_replay_says_it_with_and_without_a_pruner(run, tmp_path):
    train_earlier(tmp_path)
    code, output = run("replay", "earlier", "--home", ".")
    assert code == 0
    assert "From step 4 (a compute of 4) on, past curves judge rightly" in output
    assert len([line for line in output.splitlines() if line.split()[:1] in ([f"{step}"] for step in range(1, 8))]) == 7
    told = json.loads(run("replay", "earlier", "--home", ".", "--format", "json")[1])
    assert (told["sweep"], told["curves"]["first"], told["curves"]["trials"]) == ("earlier", 4, 24)
    code, output = run("replay", "earlier", "--home", ".", "--pruner", "median")
    assert code == 0
    assert "From step 4" in output
    assert "It prunes" in output


def warmed(folder: Path, text: str) -> tuple[SweepFolder, str]:
    """Launch a sweep with the trials of `train_earlier`; return it and what was printed."""
    path = folder / "b.yaml"
    path.write_text(text)
    printed = io.StringIO()
    options = LaunchOptions(name="new", warm_start=["earlier"])
    return new_sweep(path, folder, Console(file=printed, width=500), options), printed.getvalue()


@pytest.mark.parametrize(("begin", "by_rule"), [(5, 4), (1, 4)])
def test_a_warm_start_begins_to_compare_where_past_curves_judge_rightly(tmp_path, begin, by_rule):
    train_earlier(tmp_path, begin)
    sweep, printed = warmed(tmp_path, HALVING)
    assert f"First rung: a compute of {begin}; without earlier sweeps it would be {by_rule}." in printed
    assert sweep.space.search.pruner.first_rung == begin
    opened = SweepFolder.open("new", home=tmp_path)
    assert opened.space == sweep.space
    assert opened.edited_keys == ()
    assert "the curves of earlier judge rightly" in (sweep.folder / "space.yaml").read_text()


def test_a_warm_start_that_cannot_tell_keeps_the_rule(tmp_path):
    train_earlier(tmp_path, text=TEXT.replace("trials: 24", "trials: 5"))
    sweep, printed = warmed(tmp_path, HALVING)
    assert "First rung: a compute of 4, as by default. 5 trials ran" in printed
    assert sweep.space.search.pruner.first_rung == 4


@pytest.mark.parametrize("pruner", ["{successive_halving: {min_resource: 3}}", "none"])
def test_a_first_rung_that_is_named_stays(tmp_path, pruner):
    train_earlier(tmp_path)
    sweep, printed = warmed(tmp_path, TEXT.replace("pruner: none", f"pruner: {pruner}"))
    assert "First rung" not in printed
    assert sweep.space.search.pruner.first_rung == (3 if "3" in pruner else None)


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband", "median", "{median: {startup_trials: 2}}"])
def test_a_rung_is_put_into_a_text_however_its_pruner_is_written(pruner):
    text = TEXT.replace("pruner: none", f"pruner: {pruner}")
    assert not names_first_rung(text)
    for rung in (1, 5):
        named = with_named_rung(text, "x.yaml", rung, "why")
        assert names_first_rung(named)
        assert parse_space(named, "x.yaml").search.pruner.first_rung == rung
        assert ("accept_early_rungs" in named) == (rung == 1)
