"""Samplers that a space names by their class: ``sampler: {class: package.module:Name, args: {...}}``.

A sampler is made anew for each trial and knows the study, a seed and the trial's number, so that a resumed search draws
what an uninterrupted one would have drawn. A class with an `after_trial` of its own learns in itself instead: it is
made once, and a resumed search tells it the trials that have ended.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, QMCSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.errors import Mistake, nearest, unknown
from search_spaces.parsing.reader import Draft
from search_spaces.schema import Space
from search_spaces.sections import SamplerClass
from trainables.common.process_state import without_current_folder
from tuner.errors import UserError
from tuner.search.distributions import suggest
from tuner.search.sampling.fallback import FallbackSampler

_PLACE = ("search", "sampler")
_PROBES = 3
"""Trials that a sampler is asked for when its space is checked."""


def describe(named: SamplerClass) -> str:
    """Return, as a sentence, what becomes of a sampler's state when a search is resumed.

    Raises:
        UserError: the class cannot be imported here.
    """
    sampler_class = _loaded(named)
    if _keeps_state(sampler_class):
        return (
            f"{named.path} learns in itself: a resumed search tells it all trials that have ended, but may draw others "
            "than an uninterrupted one"
        )
    if not _takes_seed(sampler_class):
        return f"{named.path} takes no seed: the same search may draw other trials another time, and when it is resumed"
    return f"{named.path} is made anew for each trial: a resumed search draws what an uninterrupted one would"


class SamplerSource:
    """Makes the samplers of a search whose space names a class.

    Args:
        space: that names it.
        tell: says to a person, once, that a sampler has failed.

    Raises:
        UserError: the class cannot be imported here.
    """

    def __init__(self, space: Space, tell: Callable[[str], None]) -> None:
        assert isinstance(space.search.sampler, SamplerClass)  # noqa: S101
        self._named = space.search.sampler
        self._seed = space.search.seed
        self._class = _loaded(self._named)
        self._tell: Callable[[str], None] | None = tell
        self._kept: BaseSampler | None = None

    def sampler(self, seed: int, study: Study | None = None) -> BaseSampler:
        """Return the sampler of one trial; one that fails leaves that trial to chance.

        Args:
            seed: of the trial.
            study: whose ended trials a sampler that learns in itself is told when it is made.
        """
        return FallbackSampler(self._made(seed, study), seed, self._failed)

    def _made(self, seed: int, study: Study | None) -> BaseSampler:
        if not _keeps_state(self._class):
            return _make(self._class, self._named.args, self._seed if issubclass(self._class, QMCSampler) else seed)
        if self._kept is None:
            self._kept = _make(self._class, self._named.args, seed)
            for trial in _ended_in_order(study):
                self._tell_ended(self._kept, study, trial)
        return self._kept

    def _tell_ended(self, sampler: BaseSampler, study: Study | None, trial: FrozenTrial) -> None:
        try:
            assert study is not None  # noqa: S101
            sampler.after_trial(study, trial, trial.state, trial.values)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if self._tell is not None:
            self._tell(f"the sampler {self._named.path} has failed ({_reason(error)}): such trials are drawn at random")
        self._tell = None


def _ended_in_order(study: Study | None) -> Sequence[FrozenTrial]:
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    trials = study.get_trials(deepcopy=False, states=states) if study else []
    return sorted(trials, key=lambda trial: (str(trial.datetime_complete), trial.number))


def sampler_mistakes(draft: Draft) -> Iterator[Mistake]:
    """Yield what is wrong with the class of a file's sampler, which is imported and made, and with its arguments."""
    named = draft.section("search").get("sampler")
    if not isinstance(named, dict) or not SamplerClass.is_path(named.get("class")):
        return
    try:
        sampler_class = _import(named["class"])
    except _ImportedError as error:
        yield Mistake(None, (*_PLACE, "class"), f"{named['class']} {error}")
        return
    args = named.get("args", {})
    if isinstance(args, dict):
        wrong = list(_argument_mistakes(sampler_class, args))
        yield from wrong
        if not wrong and (reason := _why_it_cannot_be_made(sampler_class, args)):
            place = (*_PLACE, "args") if args else (*_PLACE, "class")
            yield Mistake(None, place, f"{named['class']} cannot be made: {reason}")


def _argument_mistakes(sampler_class: type[BaseSampler], args: Mapping[str, Any]) -> Iterator[Mistake]:
    if "seed" in args:
        yield Mistake(None, (*_PLACE, "args", "seed"), "comes from search.seed, for each trial another: leave it out")
        return
    parameters = _parameters(sampler_class)
    if any(each.kind == each.VAR_KEYWORD for each in parameters.values()):
        return
    for key in args:
        if key not in parameters:
            valid = [name for name in parameters if name != "seed"]
            yield Mistake(None, (*_PLACE, "args", key), unknown("argument", key, valid))


class _ImportedError(ValueError):
    """A class that cannot be used as a sampler; its text goes on after the name of the class."""


def _loaded(named: SamplerClass) -> type[BaseSampler]:
    try:
        return _import(named.path)
    except _ImportedError as error:
        raise UserError(f"the sampler {named.path} of this search {error}") from None


@cache
def _import(path: str) -> type[BaseSampler]:
    """Return the class at ``package.module:Name``; no module is taken from the current folder."""
    module_name, _, name = path.partition(":")
    try:
        with without_current_folder(), _quiet():
            module = importlib.import_module(module_name)
            found = getattr(module, name, None)  # may import, too: some packages load their classes when asked
    except ModuleNotFoundError as error:
        raise _ImportedError(_why_missing(module_name, error)) from None
    except (Exception, SystemExit) as error:
        raise _ImportedError(f"cannot be imported: {type(error).__name__}: {error}") from None
    classes = [key for key, value in vars(module).items() if _is_sampler(value)]
    if found is None:
        raise _ImportedError(f"is not there: {module_name} has no {name}{nearest(name, classes)}")
    if not _is_sampler(found):
        others = f"; its samplers: {', '.join(classes[:20])}" if classes else ""
        raise _ImportedError(f"is no sampler, a class made from optuna.samplers.BaseSampler{others}")
    return found  # type: ignore[no-any-return]


def _is_sampler(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseSampler) and value is not BaseSampler


def _why_missing(module_name: str, error: ModuleNotFoundError) -> str:
    missing = error.name
    if missing is None:
        return f"needs what is not installed: {' '.join(str(error).split())}"
    if not f"{module_name}.".startswith(f"{missing}."):
        return f"needs what is not installed: {missing}"
    top = Path(module_name.partition(".")[0])
    if top.is_dir() or top.with_suffix(".py").is_file():
        return (
            f"cannot be imported: {top} lies in the current folder, from which no code is taken; install it, or name "
            "its folder in PYTHONPATH"
        )
    return f"cannot be imported: there is no module {missing}; install the package that has it, or set PYTHONPATH"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _keeps_state(sampler_class: type[BaseSampler]) -> bool:
    """Return whether a class learns in itself; Optuna's own keep in the study what they learn."""
    return not sampler_class.after_trial.__module__.startswith("optuna.")


def _parameters(sampler_class: type[BaseSampler]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(sampler_class).parameters
    except (TypeError, ValueError):
        return {}


def _takes_seed(sampler_class: type[BaseSampler]) -> bool:
    return "seed" in _parameters(sampler_class)


def _make(sampler_class: type[BaseSampler], args: Mapping[str, Any], seed: int) -> BaseSampler:
    seeded = {**args, "seed": seed} if _takes_seed(sampler_class) else dict(args)
    with _quiet():
        return sampler_class(**seeded)


def _why_it_cannot_be_made(sampler_class: type[BaseSampler], args: Mapping[str, Any]) -> str | None:
    try:
        _make(sampler_class, args, 0)
    except Exception as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    """Return an error in one line."""
    kind = "it needs what is not installed" if isinstance(error, ImportError) else type(error).__name__
    return f"{kind}: {str(error).strip().partition(chr(10))[0]}"


def why_it_cannot_draw(space: Space, named: SamplerClass) -> str | None:
    """Return why a sampler fails in a study in memory, where it is asked for a few trials; None if it does not."""
    failures: list[Exception] = []
    directions = [
        StudyDirection.MAXIMIZE if objective.mode == "max" else StudyDirection.MINIMIZE
        for objective in space.objectives
    ]
    quiet = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = _make(_loaded(named), named.args, space.search.seed)
            study = optuna.create_study(directions=directions, sampler=FallbackSampler(made, 0, failures.append))
            for number in range(_PROBES):
                trial = study.ask()
                space.settings(lambda parameter, trial=trial: suggest(trial, parameter))  # type: ignore[misc]
                study.tell(trial, [number / _PROBES] * len(directions))
    finally:
        optuna.logging.set_verbosity(quiet)
    return _reason(failures[0]) if failures else None
