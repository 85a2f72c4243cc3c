"""The undocumented names of Optuna exist in the installed release, do what is expected, and are used in one module."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import optuna
import pytest
from optuna.samplers import GPSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import TrialState

from tuner.storage.optuna_internals import StudyView, open_trial, study_id, trial_id

ROOT = Path(__file__).parents[3]


@pytest.fixture
def study() -> Study:
    """Return the second study of a storage, so that numbers and ids of its trials differ."""
    storage = InMemoryStorage()
    optuna.create_study(storage=storage).ask()
    made = optuna.create_study(storage=storage, sampler=RandomSampler(seed=0), direction="maximize")
    for value in (0.1, 0.2, 0.3):
        trial = made.ask()
        trial.suggest_float("x", 0.0, 1.0)
        made.tell(trial, value)
    made.ask()
    return made


def test_ids_are_those_that_the_storage_knows(study):
    storage, frozen = study._storage, study.get_trials()[-1]
    assert study_id(study) == storage.get_study_id_from_name(study.study_name) == 1
    assert trial_id(frozen) == storage.get_trial_id_from_study_id_trial_number(1, 3) == 4


def test_an_opened_trial_goes_on(study):
    trial = open_trial(study, study.get_trials()[-1])
    trial.report(0.5, 1)
    study.tell(trial, 0.7)
    assert trial.number == 3
    assert study.get_trials()[-1].intermediate_values == {1: 0.5}
    assert study.best_value == 0.7


def test_a_view_shows_the_given_trials_in_every_state_that_is_asked_for(study):
    trials = study.get_trials()
    view = StudyView(study, [trials[1], trials[3]])
    assert view.get_trials(deepcopy=False) == view.trials == [trials[1], trials[3]]
    assert view.get_trials(states=(TrialState.COMPLETE,)) == [trials[1]]
    assert (view.study_name, view.direction) == (study.study_name, study.direction)
    overridden = inspect.signature(Study._get_trials).parameters
    assert list(inspect.signature(StudyView._get_trials).parameters) == list(overridden)


@pytest.mark.parametrize("sampler", [TPESampler(seed=0, n_startup_trials=2), GPSampler(seed=0, n_startup_trials=2)])
def test_samplers_learn_from_the_trials_of_a_view(study, sampler, monkeypatch):
    """Told of no complete trial they have nothing to model; what a proposal leaves goes to the asked trial."""
    trials = study.get_trials()
    space = {"x": trials[0].distributions["x"]}
    for shown, expected in ((trials[3:], {}), (trials, {"x"})):
        view = StudyView(study, shown)
        assert set(sampler.infer_relative_search_space(view, trials[3])) <= set(space)
        assert set(sampler.sample_relative(view, trials[3], space)) == set(expected)
    assert any("relative_params" in name for name in study.get_trials()[3].system_attrs)


def test_no_other_module_uses_an_undocumented_name_of_optuna():
    used = set(re.findall(r"\b(?:study|trial)(\._[a-z]\w*)", (ROOT / "tuner/storage/optuna_internals.py").read_text()))
    assert used == {"._study_id", "._trial_id", "._storage"}
    private = re.compile(r"\b(?:optuna|\w*study|\w*trial|frozen)\w*(?:\.\w+|\[\w+\])*\._[a-z]\w*|from optuna.*\b_\w+")
    for path in (ROOT / "tuner").rglob("*.py"):
        if path.name != "optuna_internals.py":
            assert not [name for name in private.findall(path.read_text()) if not name.startswith("self.")], path
            assert not [name for name in ("._study_id", "._trial_id", "def _get_trials") if name in path.read_text()], (
                path
            )
