"""What the search's study says: which parameters mattered, and where the best values lie in their ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.parameters import FloatRange, IntRange, Parameter
from tuner.sweep.reader import SEARCH, read_studies
from tuner.sweep.snapshot import Snapshot

MIN_TRIALS = 10
"""Complete trials below which nothing is said of what mattered."""
MAX_SHOWN = 1000
"""The complete trials that charts by parameter show."""
_MAX_FOR_IMPORTANCE = 4000
_EDGE = 0.05  # share of a range
_MIN_FOR_EDGES = 4  # of fewer trials, the best says little about the range
_HIGH = 0.02  # share of the whole importance


@dataclass(frozen=True)
class StudyView:
    """The complete trials of a search, for charts and for what mattered.

    Attributes:
        complete: all of them, the best first.
        shown: those that charts show, in the order of their numbers: the best, and of a large search a selection of the
            others.
        importance: share of each parameter in what the objective depends on, the largest first; empty if too few trials
            are complete, or if they all have one value.
    """

    complete: Sequence[FrozenTrial]
    shown: Sequence[FrozenTrial]
    importance: dict[str, float]

    @property
    def important(self) -> list[str]:
        """The parameters that mattered, the most important first; all that vary where that is not known."""
        known = [name for name, share in self.importance.items() if share >= _HIGH]
        return known or list(dict.fromkeys(name for trial in self.shown for name in trial.params))


def read_study(snapshot: Snapshot) -> StudyView:
    """Return the complete trials of a search.

    Args:
        snapshot: of the sweep; of trials that have ended since it was taken, nothing is shown.
    """
    ended = {record.run.number for record in snapshot.records if record.run.kind == "trial"}
    content = read_studies(snapshot.sweep).get(SEARCH)
    complete = [
        trial
        for trial in (content.trials if content else ())
        if trial.state == TrialState.COMPLETE and "from" not in trial.user_attrs and trial.number in ended
    ]
    sign = snapshot.space.objective.sign
    best_first = sorted(complete, key=lambda trial: -sign * trial.values[0])
    return StudyView(best_first, _chosen(best_first), _importance(snapshot, best_first))


def _chosen(best_first: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    chosen = list(best_first)
    if len(best_first) > MAX_SHOWN:
        half = MAX_SHOWN // 2
        others = best_first[half:]
        chosen = [*best_first[:half], *(others[place * len(others) // half] for place in range(half))]
    return sorted(chosen, key=lambda trial: trial.number)


def _importance(snapshot: Snapshot, best_first: Sequence[FrozenTrial]) -> dict[str, float]:
    if len(best_first) < MIN_TRIALS or len({trial.values[0] for trial in best_first}) < 2:
        return {}
    is_maximized = snapshot.space.objective.sign > 0
    study = optuna.create_study(direction=StudyDirection.MAXIMIZE if is_maximized else StudyDirection.MINIMIZE)
    step = math.ceil(len(best_first) / _MAX_FOR_IMPORTANCE)
    study.add_trials(
        [
            create_trial(value=trial.values[0], params=trial.params, distributions=trial.distributions)
            for trial in best_first[::step]
        ]
    )
    shares = optuna.importance.get_param_importances(study)
    varied = {parameter.name for parameter in snapshot.space.parameters if parameter.varies}
    return {name: share for name, share in shares.items() if name in varied and math.isfinite(share)}


def edge_sentences(snapshot: Snapshot, view: StudyView) -> list[str]:
    """Return a sentence for each range at whose edge the best trial lies, with what to do about it."""
    best = snapshot.best
    if len(view.complete) < _MIN_FOR_EDGES:
        return []
    drawn = next((trial for trial in view.complete if best is not None and trial.number == best.run.number), None)
    values = drawn.params if drawn else {}
    said = (_edge(parameter, values.get(parameter.name)) for parameter in snapshot.space.parameters)
    return [sentence for sentence in said if sentence]


def _edge(parameter: Parameter, value: Any) -> str:
    domain = parameter.domain
    if not parameter.varies or not isinstance(domain, FloatRange | IntRange) or not isinstance(value, int | float):
        return ""
    if isinstance(domain, IntRange) and domain.high - domain.low < 3:
        return ""  # so few values that one of the ends is no surprise
    place = _place(domain, value)
    if _EDGE < place < 1 - _EDGE:
        return ""
    end, further = ("lower", "lower") if place <= _EDGE else ("upper", "higher")
    return (
        f"The best trial's {parameter.name} is {value:.4g}, at the {end} edge of its range from {domain.low:.4g} to "
        f"{domain.high:.4g}: better values may lie {further}. Widen the range and search again, with `--warm-start`."
    )


def _place(domain: FloatRange | IntRange, value: float) -> float:
    low, high = (math.log(end) if domain.log else end for end in (domain.low, domain.high))
    at = math.log(value) if domain.log else value
    return (at - low) / (high - low) if high > low else 0.5
