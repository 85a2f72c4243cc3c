"""Schedules from the file to the training: what is expanded, drawn and configured is the schedule of its values."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import FloatRange, IntRange
from search_spaces.configurations import configuration_for, parse_space
from search_spaces.parsing.yaml_document import parse as parse_yaml
from search_spaces.schedule_preview import preview_lines, preview_schedules
from trainables.config import parse
from trainables.config.schedules import Schedule, value_at
from tuner.cli.app import main
from tuner.results.pictures import figures as pictures

SPACE = """\
name: scheduled
trainable: gan
budget: {trials: 4, compute: 2}
parameters:
  classifier:
    learning_rate: {float: [1.0e-4, 1.0e-2], log: true, schedule: [constant, linear, stepped], knots: 4}
    schedule: {choice: [constant, cyclic], when: {learning_rate: constant}}
  generator:
    learning_rate: {float: [1.0e-5, 1.0e-3], schedule: linear}
    perturbation_bound: {choice: [0.1, 0.2, 0.3], schedule: [linear], at: [0.1, 0.9]}
  ratio:
    generator_turns: {int: [1, 16], log: true, schedule: [stepped, constant], at: [0, 0.3, 0.8]}
"""
RANGES = {
    ("classifier", "learning_rate"): (1e-4, 1e-2),
    ("generator", "learning_rate"): (1e-5, 1e-3),
    ("generator", "perturbation_bound"): (0.1, 0.3),
    ("ratio", "generator_turns"): (1, 16),
}
MOMENTS = {"perturbation_bound": [0.1, 0.9], "generator_turns": [0.0, 0.3, 0.8]}


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), progress=st.floats(0, 1))
def test_an_expanded_schedule_is_the_schedule_of_its_values_and_stays_in_its_range(seed, progress):
    rng = random.Random(seed)
    chosen = {}

    def suggest(one):
        domain = one.domain
        if isinstance(domain, FloatRange):
            chosen[one.name] = rng.uniform(domain.low, domain.high)
        else:
            chosen[one.name] = (
                rng.randint(domain.low, domain.high) if isinstance(domain, IntRange) else rng.choice(domain.values)
            )
        return chosen[one.name]

    space = parse_space(SPACE, "my.yaml")
    config = parse(configuration_for(space, space.settings(suggest), 0))
    for (section, key), (low, high) in RANGES.items():
        name = f"{section}.{key}"
        kind = chosen.get(f"{name}.kind", "linear")
        values = [value for path, value in chosen.items() if path.startswith(f"{name}.knot_")]
        direct = Schedule[float](kind=kind, values=values, at=None if kind == "constant" else MOMENTS.get(key))
        now = value_at(getattr(getattr(config, section), key), progress)
        assert now == direct.value(progress)
        assert low <= now <= high


FIXED = SPACE.replace("{float: [1.0e-5, 1.0e-3], schedule: linear}", "{kind: linear, values: [1.0e-3, 0.0]}")


def drawn():
    return preview_schedules(parse_space(FIXED, "my.yaml").parameters)


def test_every_kind_of_every_schedule_is_drawn():
    assert [(course.setting, course.kind, course.log) for course in drawn()] == [
        ("classifier.learning_rate", "constant", True),
        ("classifier.learning_rate", "linear", True),
        ("classifier.learning_rate", "stepped", True),
        ("generator.learning_rate", "linear", False),
        ("generator.perturbation_bound", "linear", False),
        ("ratio.generator_turns", "stepped", True),
        ("ratio.generator_turns", "constant", True),
    ]


def test_the_examples_are_of_their_kind_within_the_range_and_the_same_every_time():
    assert drawn() == drawn()
    for course in drawn():
        low, high = RANGES[tuple(course.setting.split("."))] if len(course.examples) > 1 else (0.0, 1e-3)
        assert (min(course.lowest), max(course.highest)) == (low, high)
        for example in course.examples:
            assert example.kind == course.kind
            assert low <= min(example.values) <= max(example.values) <= high
        moments = MOMENTS.get(course.setting.split(".")[1])
        assert [example.at and list(example.at) for example in course.examples] == [
            None if course.kind == "constant" else moments
        ] * len(course.examples)


def test_a_fixed_schedule_is_its_only_example():
    fixed = drawn()[3]
    assert fixed.lowest == fixed.highest
    assert [example.values for example in fixed.examples] == [(1e-3, 0.0)]


def test_lines_rise_and_fall_with_the_values():
    text = list(preview_lines(drawn()))
    assert text[0] == "# classifier.learning_rate over the run, ▁ 0.0001 to █ 0.01, in its logarithm"
    (falling,) = [line for line in text if line.endswith(" 0.001 0")]
    bars = falling.removeprefix("#   linear   ").removesuffix(" 0.001 0")
    assert bars == "".join(bar * 5 for bar in "█▇▆▅▄▃▂▁")
    steps = next(line for line in text if line.startswith("#   stepped")).split()[2]
    assert len(steps) == 40
    assert [steps[10 * part : 10 * part + 10] for part in range(4)] == [steps[10 * part] * 10 for part in range(4)]


def test_the_picture_has_a_panel_for_each_kind_with_its_range_and_examples():
    figure = pictures.schedules("x", drawn())
    figure.canvas.draw()
    assert [axes.get_title() for axes in figure.axes] == [course.kind for course in drawn()]
    for axes, course in zip(figure.axes, drawn(), strict=True):
        assert len(axes.get_lines()) == len(course.examples)
        assert axes.get_yscale() == ("log" if course.log else "linear")
        low, high = axes.get_ylim()
        assert low <= min(course.lowest)
        assert high >= max(course.highest)


@pytest.fixture
def show(tmp_path, monkeypatch, capsys):
    def run(text, *options):
        (tmp_path / "my.yaml").write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["tuner", "spaces", "show", "my.yaml", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.parametrize("text", [SPACE, SPACE.removesuffix("\n")])
def test_what_is_shown_begins_with_the_file_and_is_the_same_space(show, text):
    code, output, _ = show(text)
    assert code == 0
    assert output.startswith(text)
    assert "#   stepped" in output
    assert parse_yaml(output).data == parse_yaml(text).data


def test_a_space_without_schedules_is_shown_as_it_is(show):
    text = "name: plain\ntrainable: standard\nbudget: {trials: 1, compute: 1}\n"
    assert show(text) == (0, text, "")
    code, _, error = show(text, "--picture", "it.png")
    assert code == 2
    assert "no setting changes over the run" in error


def test_a_file_with_mistakes_is_shown_but_not_drawn(show, tmp_path):
    text = SPACE.replace("schedule: linear", "schedule: liner")
    assert show(text) == (0, text, "")
    code, _, error = show(text, "--picture", "it.png")
    assert code == 2
    assert "my.yaml:9: parameters.generator.learning_rate.schedule: unknown schedule 'liner'" in error
    assert not (tmp_path / "it.png").exists()


def test_the_picture_is_written_or_why_not_is_said(show, tmp_path):
    assert show(SPACE, "--picture", "it.png")[0] == 0
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")
    code, _, error = show(SPACE, "--picture", "my.yaml/it.png")
    assert code == 2
    assert "cannot draw my.yaml/it.png" in error
