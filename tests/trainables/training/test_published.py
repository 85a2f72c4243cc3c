"""Published configurations: complete, valid, and the same as what the packaged comments say of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trainables.config import CONFIGURATIONS, parse
from trainables.training.published import PUBLISHED

EVERY_ONE = pytest.mark.parametrize("name", PUBLISHED)


def contains(whole, part) -> bool:
    if isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    return whole == part


@EVERY_ONE
def test_it_is_a_configuration_with_nothing_changed(name):
    settings = PUBLISHED[name].settings
    assert contains(parse(dict(settings)).model_dump(mode="json"), settings)
    assert PUBLISHED[name].source


@EVERY_ONE
def test_all_runs_of_a_sweep_keep_what_they_share(name):
    assert not {"dataset", "evaluation", "seed", "report_every"} & set(PUBLISHED[name].settings)


def test_names_are_no_trainables():
    assert not set(PUBLISHED) & set(CONFIGURATIONS)


def test_steps_are_as_long_as_published():
    for name, step_size in (("madry_2018", 0.01), ("wong_2020", 0.375), ("zhang_2019", 0.01)):
        attack = parse(dict(PUBLISHED[name].settings)).attack
        assert attack.reach * attack.epsilon / attack.steps == pytest.approx(step_size)


def test_names_are_known_before_anything_is_loaded():
    code = "import sys, trainables.training.published; print({'torch', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
