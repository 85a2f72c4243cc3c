"""Samplers by their class: what is refused and in which line, what a resumed search draws, what becomes of failures."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from search_spaces.errors import SpaceError
from tests.support.samplers import Counting
from tests.tuner.conftest import STEPS, row
from trainables.common.process_state import safe_path
from tuner.errors import UserError
from tuner.search.ledger import Ledger
from tuner.search.sampling.checked import notes_on_sampler, parse_checked_space
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

OURS = "tests.support.samplers"


def text(sampler: str, parameters: str = "clean_weight: {float: [0.0, 1.0]}", trials: int = 12) -> str:
    return f"""\
name: search
trainable: gan
dataset: {{name: digits, validation: 200}}
budget: {{trials: {trials}, compute: 3}}
search:
  seed: 3
  sampler: {sampler}
parameters:
  {parameters}
  batch_size: {{choice: [32, 64]}}
"""


@pytest.mark.parametrize(
    ("sampler", "line", "message"),
    [
        ("{class: optuna.samplers}", 7, "must be package.module:Name, like optuna.samplers:TPESampler"),
        ("{class: 'os; import sys:Name'}", 7, "must be package.module:Name"),
        ("{class: 7}", 7, "search.sampler.class: must be a valid string, not 7"),
        ("{clas: 'optuna.samplers:TPESampler'}", 7, "unknown key 'clas'; did you mean 'class'? (valid: args, class)"),
        ("{args: {}}", 7, "search.sampler.class: is required"),
        ("[tpe]", 7, "search.sampler: must be 'tpe', 'gp'"),
        ("tpee", 7, "did you mean 'tpe'?"),
        ("{class: 'nowhere.at_all:Sampler'}", 7, "cannot be imported: there is no module nowhere; install"),
        ("{class: 'optuna.nowhere:Sampler'}", 7, "there is no module optuna.nowhere"),
        ("{class: 'optuna.samplers:TPESamler'}", 7, "optuna.samplers has no TPESamler; did you mean 'TPESampler'?"),
        ("{class: 'os:path'}", 7, "os:path is no sampler, a class made from optuna.samplers.BaseSampler"),
        ("{class: 'optuna.samplers:BaseSampler'}", 7, "is no sampler"),
        ("{class: 'tests.support.samplers:NOT_A_CLASS'}", 7, "is no sampler"),
        ("{class: 'tests.support.samplers:Abstract'}", 7, "cannot be made: TypeError: Can't instantiate abstract"),
        ("{class: 'tests.support.samplers:Needy'}", 7, "it needs what is not installed: No module named 'surely_not"),
        ("{class: 'tests.support.samplers:Plain', args: {strenth: 2}}", 7, "unknown argument 'strenth'; did you mean"),
        ("{class: 'tests.support.samplers:Plain', args: {strength: -1}}", 7, "strength must not be negative, got -1"),
        ("{class: 'tests.support.samplers:Plain', args: {strength: [1]}}", 7, "cannot be made: TypeError"),
        ("{class: 'tests.support.samplers:Plain', args: {seed: 2}}", 7, "comes from search.seed"),
        ("{class: 'tests.support.samplers:Plain', args: [1]}", 7, "search.sampler.args: must be a mapping"),
        (
            "{class: 'tests.support.samplers:Failing', args: {numbers: [1]}}",
            7,
            "RuntimeError: no idea for clean_weight",
        ),
        (
            "{class: 'tests.support.samplers:Outside'}",
            7,
            "cannot draw from this space: ValueError: it has drawn 1000000",
        ),
        ("\n    class: optuna.samplers:TPESampler\n    args:\n      n_ei: 3", 10, "unknown argument 'n_ei'"),
    ],
)
def test_a_class_that_cannot_be_used_is_a_mistake_with_its_line(sampler, line, message):
    with pytest.raises(SpaceError) as caught:
        parse_checked_space(text(sampler), "x.yaml")
    assert {mistake.line for mistake in caught.value.mistakes} == {line}
    assert message in str(caught.value)


def test_all_mistakes_are_listed_at_once():
    content = text("{class: 'optuna.samplers:Nothing'}").replace("compute: 3", "compute: -3")
    with pytest.raises(SpaceError) as caught:
        parse_checked_space(content, "x.yaml")
    assert [mistake.line for mistake in caught.value.mistakes] == [4, 7]


def test_what_a_class_needs_and_is_not_installed_is_named(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import surely_not_installed\n")
    (tmp_path / "goes_wrong.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "lazy.py").write_text("def __getattr__(name):\n    import surely_not_installed\n")
    (tmp_path / "told.py").write_text("def __getattr__(name):\n    raise ModuleNotFoundError('\\nRun pip\\nnow.')\n")
    (tmp_path / "broken.py").write_text("def __getattr__(name):\n    return 1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module, message in (
        ("needs_more", "needs what is not installed: surely_not_installed"),
        ("goes_wrong", "3"),
        ("lazy", "needs what is not installed: surely_not_installed"),
        ("told", "needs what is not installed: Run pip now."),
        ("broken", "cannot be imported: ZeroDivisionError: division by zero"),
    ):
        with pytest.raises(SpaceError, match=message):
            parse_checked_space(text(f"{{class: '{module}:Sampler'}}"), "x.yaml")


@pytest.mark.parametrize("begin", [("-m", "tuner"), ("-P", "-m", "tuner")])
def test_no_code_of_the_current_folder_runs(tmp_path, begin):
    (tmp_path / "mine.py").write_text("open('has-run', 'w')\nfrom optuna.samplers import RandomSampler as Mine\n")
    (tmp_path / "x.yaml").write_text(text("{class: 'mine:Mine'}"))
    environment = {**os.environ, "PYTHONPATH": safe_path()["PYTHONPATH"]}
    command = [sys.executable, *begin, "spaces", "check", "x.yaml"]

    def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    refused = run(environment)
    assert refused.returncode == 2
    assert (
        "x.yaml:7: search.sampler.class: mine:Mine cannot be imported: mine lies in the current folder"
        in refused.stderr
    )
    assert not (tmp_path / "has-run").exists()
    if begin[0] == "-m":
        asked_for = {**environment, "PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{tmp_path}"}
        assert run(asked_for).returncode == 0


def test_a_sweep_that_is_only_looked_at_imports_nothing(tmp_path):
    sweep = SweepFolder.create("a", text("{class: 'nowhere.at_all:Sampler'}"), "a.yaml", home=tmp_path)
    assert SweepFolder.open("a", home=tmp_path) == sweep
    assert read_records(sweep) == []
    with pytest.raises(UserError, match=r"the sampler nowhere\.at_all:Sampler of this search cannot be imported"):
        Ledger(sweep)


def measured(settings: dict[str, Any], step: int) -> dict[str, float]:
    return row(step, step / STEPS * (1 - settings["clean_weight"] ** 2), clean=0.5 + settings["clean_weight"] / 2)


def train_until(ledger: Ledger, dice: random.Random | None = None, runs: int = 1000) -> None:
    """Train runs; with dice, end as a driver that is killed, with a run on its hands."""
    for _ in range(runs):
        run = ledger.next_run()
        if run is None:
            return
        begun = int(ledger.records[run.key].metrics.get("step", 0))
        for step in range(begun + 1, STEPS):
            ledger.report(run.key, measured(run.settings, step))
        if dice is not None and dice.random() < 0.3:
            return
        ledger.complete(run.key, measured(run.settings, STEPS))


SAMPLERS = [
    "tpe",
    "gp",
    "nsga2",
    "random",
    "qmc",
    "{class: 'optuna.samplers:TPESampler', args: {n_startup_trials: 3, multivariate: true}}",
    "{class: 'optuna.samplers:GPSampler', args: {n_startup_trials: 4}}",
    "{class: 'optuna.samplers:NSGAIIISampler', args: {population_size: 4}}",
    "{class: 'optuna.samplers:QMCSampler', args: {qmc_type: halton}}",
    "{class: 'tests.support.samplers:Plain', args: {strength: 2}}",
    "{class: 'tests.support.samplers:Failing', args: {numbers: [5, 6, 7]}}",
]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_is_killed_again_and_again_draws_what_an_uninterrupted_one_draws(tmp_path, sampler):
    whole = SweepFolder.create("whole", text(sampler), "a.yaml", home=tmp_path)
    parts = SweepFolder.create("parts", text(sampler), "a.yaml", home=tmp_path)
    train_until(Ledger(whole))
    dice = random.Random(1)
    while not (ledger := Ledger(parts)).is_complete:
        train_until(ledger, dice, dice.randrange(1, 4))

    def drawn(sweep: SweepFolder) -> list[tuple[str, float, int]]:
        settings = [(one.run.key, one.run.settings) for one in read_records(sweep)]
        return [(key, each["clean_weight"], each["batch_size"]) for key, each in settings]

    assert drawn(parts) == drawn(whole)
    assert len({weight for _, weight, _ in drawn(whole)}) >= 6


def test_where_a_sampler_raises_the_trial_is_drawn_at_random_and_it_is_said_once(tmp_path):
    said: list[str] = []
    sweep = SweepFolder.create("a", text(SAMPLERS[-1]), "a.yaml", home=tmp_path)
    train_until(Ledger(sweep, tell=said.append))
    assert len(read_records(sweep)) == 12
    assert said == [
        "the sampler tests.support.samplers:Failing has failed (RuntimeError: no idea for batch_size): such trials are "
        "drawn at random"
    ]


def test_what_a_sampler_draws_outside_of_the_space_is_not_used(tmp_path):
    said: list[str] = []
    sweep = SweepFolder.create("a", text("{class: 'tests.support.samplers:Outside'}"), "a.yaml", home=tmp_path)
    train_until(Ledger(sweep, tell=said.append))
    assert all(0 <= record.run.settings["clean_weight"] <= 1 for record in read_records(sweep))
    assert len(said) == 1


def test_a_sampler_that_learns_in_itself_is_made_once_and_told_of_what_has_ended(tmp_path):
    Counting.made.clear()
    sweep = SweepFolder.create("a", text("{class: 'tests.support.samplers:Counting'}"), "a.yaml", home=tmp_path)
    train_until(Ledger(sweep), runs=5)
    (first,) = Counting.made
    assert first.ended == [(number, "COMPLETE") for number in range(5)]
    train_until(Ledger(sweep))
    _, second = Counting.made
    assert second.ended == [(number, "COMPLETE") for number in range(12)]
    assert len({record.run.settings["clean_weight"] for record in read_records(sweep)}) == 12


@pytest.mark.parametrize(
    ("sampler", "note"),
    [
        ("optuna.samplers:TPESampler", "a resumed search draws what an uninterrupted one would"),
        (f"{OURS}:Counting", "learns in itself: a resumed search tells it all trials that have ended, but may draw"),
        (f"{OURS}:Unseeded", "takes no seed: the same search may draw other trials another time"),
    ],
)
def test_it_is_said_whether_a_samplers_state_survives(sampler, note):
    assert note in notes_on_sampler(parse_checked_space(text(f"{{class: '{sampler}'}}"), "x.yaml"))[0]
    assert notes_on_sampler(parse_checked_space(text("tpe"), "x.yaml")) == []


def test_a_class_serves_several_objectives_and_finite_spaces(tmp_path):
    content = text("{class: 'optuna.samplers:NSGAIIISampler'}", "pretrain: 0.5", trials=2)
    content += "objective: [{metric: robust}, {metric: clean}]\n"
    space = parse_checked_space(content, "x.yaml")
    sweep = SweepFolder.create("a", content, "a.yaml", home=tmp_path)
    ledger = Ledger(sweep)
    sizes = {run.settings["batch_size"] for run in iter(ledger.next_run, None)}
    assert (len(space.objectives), sizes) == (2, {32, 64})


def test_the_check_leaves_optunas_logging_as_it_was():
    before = optuna.logging.get_verbosity()
    parse_checked_space(text("{class: 'optuna.samplers:TPESampler'}"), "x.yaml")
    assert optuna.logging.get_verbosity() == before


def test_the_folder_of_tests_is_where_it_is_thought_to_be():
    assert (Path(__file__).parents[3] / "support" / "samplers.py").is_file()
