"""The tables that MLflow's pages open on: views of each sweep and one of all, kept in MLflow itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.errors import SpaceError
from search_spaces.parameters import settings_decided
from search_spaces.schema import Space
from search_spaces.sections import Objective
from trainables.evaluation.metrics import accuracies, accuracy_of, is_accuracy, metric_named
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import names
from tuner.tracking.confirmed import CONFIGURATION
from tuner.tracking.mlflow_internals import (
    CREATED,
    DURATION,
    MAX_VIEW_LENGTH,
    RUN_NAME,
    encode_view,
    view_page,
    view_tag,
)
from tuner.tracking.server import EXPERIMENT, experiment

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ALL_SWEEPS = "tuner-sweeps"
_NOT_IN_TABLES = ("sweep", "confirm", CONFIGURATION)
"""Kinds of runs in MLflow that are no runs of a search."""
_NAME_WIDTH, _CREATED_WIDTH, _DURATION_WIDTH, _ARROW_WIDTH, _LEAST_WIDTH = 185, 120, 90, 22, 90  # pixels
_MAX_VARIED = 20  # columns


@dataclass(frozen=True)
class View:
    """A view of the table of runs.

    Attributes:
        key: by which its link names it.
        content: as MLflow keeps it.
    """

    key: str
    content: str


def sweep_view(sweep: SweepFolder) -> View:
    """Return the table of a sweep: its trials and baselines sorted by the first objective, and what its trials vary."""
    space = sweep.space
    conditions = [f"tags.`tuner.sweep` = '{sweep.name}'", f"tags.`tuner.sweep_id` = '{sweep.id}'"]
    metrics = [*_accuracies(), *(objective.metric for objective in space.objectives)]
    varied = [f"params.`{name}`" for name in varied_settings(space)]
    columns = [*map(_metric_column, metrics), "tags.`tuner.state`", *varied[:_MAX_VARIED]]
    order_by = _metric_column(space.objective.metric)
    return _view(sweep.id, [*conditions, *_of_a_search()], order_by, columns, mode=space.objective.mode)


def configurations_view(sweep: SweepFolder) -> View:
    """Return the table of the configurations that `tuner confirm` trained again: means, intervals, leads, p-values."""
    objective = sweep.space.objective
    metric = objective.metric if is_accuracy(objective.metric) else accuracy_of("robust")
    baselines = [baseline.name for baseline in sweep.space.baselines]
    names = [f"test/{metric}/mean"]
    names += [name for baseline in baselines for name in (f"lead/{baseline}/mean", f"p/{baseline}")]
    names += [f"test/{metric}/{number}" for number in ("low", "high", "n")]
    names += [f"lead/{baseline}/{bound}" for baseline in baselines for bound in ("low", "high")]
    conditions = [f"tags.`tuner.sweep_id` = '{sweep.id}'", f"tags.`tuner.kind` = '{CONFIGURATION}'"]
    columns = [f"metrics.`{name}`" for name in names]
    return _view(f"{sweep.id}-seeds", conditions, columns[0], ["tags.`tuner.verdict`", *columns])


def all_sweeps_view() -> View:
    """Return the table of the trials and baselines of all sweeps, with what their accuracies depend on."""
    of_runs = ["tags.`tuner.state`", "tags.`tuner.sweep`", "tags.`label`"]
    of_sweeps = [f"params.`{name}`" for name in ("dataset.name", "evaluation.epsilon", "compute")]
    columns = [*map(_metric_column, _accuracies()), *of_runs, *of_sweeps]
    return _view(ALL_SWEEPS, _of_a_search(), _metric_column(Objective().metric), columns)


def write_view(client: MlflowClient, experiment_id: str, view: View, *, again: bool = True) -> None:
    """Write a view to MLflow, unless it is there.

    Args:
        client: of MLflow.
        experiment_id: of the experiment that holds the sweeps.
        view: the view.
        again: whether one with other content is replaced.
    """
    tag = view_tag(view.key)
    existing = client.get_experiment(experiment_id).tags.get(tag)
    if existing is None or (again and existing != view.content):
        client.set_experiment_tag(experiment_id, tag, view.content)


def page_of(experiment_id: str, view: View) -> str:
    """Return the link of a view, from the root of MLflow's pages on."""
    return view_page(experiment_id, view.key)


@dataclass(frozen=True)
class Table:
    """Where a table is, in the pages of an MLflow.

    Attributes:
        sweep: whose it is; None for that of all sweeps.
        page: its link, from the root of the pages on.
        missing: what is not there, and which command makes it; empty if nothing is missing.
    """

    sweep: str | None
    page: str
    missing: str = ""


def find_table(client: MlflowClient, home: SweepStore, name: str | None) -> Table:
    """Return the table of a sweep, or of all; its view is made if it is missing.

    Args:
        client: of MLflow.
        home: of the sweeps.
        name: of the sweep; None for all, or for the only one that there is.

    Raises:
        UserError: there is no sweep of that name.
    """
    sweep = _only_sweep(home) if name is None else SweepFolder.open(name, home=home)
    name = None if sweep is None else sweep.name
    view = all_sweeps_view() if sweep is None else sweep_view(sweep)
    command = f"`tuner sync {name or 'SWEEP'}`"
    found = client.get_experiment_by_name(EXPERIMENT)
    try:
        experiment_id = experiment(client, home.root) if found is None else str(found.experiment_id)
        write_view(client, experiment_id, view, again=False)
    except Exception as error:  # whatever MLflow and its databases raise; a home that only others may write
        reason = (str(error) or type(error).__name__).splitlines()[0]
        page = "/" if found is None else view_page(str(found.experiment_id), "")
        return Table(name, page, f"the table cannot be made: {reason}; {command} makes it, if it may write there")
    filter_by = "" if sweep is None else f"tags.`tuner.sweep_id` = '{sweep.id}'"
    has_runs = client.search_runs([experiment_id], filter_by, max_results=1)
    missing = "" if has_runs else f"MLflow has no runs of {name or 'these sweeps'} yet: {command} writes them"
    return Table(name, page_of(experiment_id, view), missing)


def _only_sweep(home: SweepStore) -> SweepFolder | None:
    """Return the sweep of a home that has one, and that can be read."""
    existing = names(home)
    if len(existing) == 1:
        with contextlib.suppress(UserError, SpaceError):
            return SweepFolder.open(existing[0], home=home)
    return None


def varied_settings(space: Space) -> list[str]:
    """Return the dotted names of the settings in which the trials of a space can differ, in the order of the space."""
    names = [name for parameter in space.parameters if parameter.varies for name in settings_decided(parameter)]
    return [*dict.fromkeys(names), *(["seed"] if space.seeds > 1 else [])]


def _accuracies() -> list[str]:
    """Return the names of the accuracies that runs are compared by: under all attacks, without one, under each.

    Under all attacks also as measured in training, which is all that pruned trials have.
    """
    robust = accuracy_of("robust")
    others = (metric.name for metric in accuracies("comparison") if metric.name != robust)
    return [robust, accuracy_of("robust", "watch"), *others]


def _metric_column(name: str) -> str:
    return f"metrics.`{metric_named(name).mlflow_name}`"


def _of_a_search() -> list[str]:
    return [f"tags.`tuner.kind` != '{kind}'" for kind in _NOT_IN_TABLES]


def _view(key: str, conditions: Iterable[str], order_by: str, columns: list[str], mode: str = "max") -> View:
    filter_by = " AND ".join(conditions)
    while True:
        widths = {RUN_NAME: _NAME_WIDTH, **{column: _width(column) for column in columns}}
        widths |= {order_by: _width(order_by) + _ARROW_WIDTH, CREATED: _CREATED_WIDTH, DURATION: _DURATION_WIDTH}
        content = encode_view(filter_by, order_by, mode == "min", widths)
        if len(content) <= MAX_VIEW_LENGTH:
            return View(key, content)
        columns = columns[:-1]


def _width(column: str) -> int:
    """Return a width in pixels in which a column's heading can be read."""
    return max(_LEAST_WIDTH, 22 + int(7.4 * len(column.split("`")[1])))
