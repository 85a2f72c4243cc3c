"""The tables that MLflow opens on: which runs, which columns, in which order, and what is said if one is missing."""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from unittest.mock import patch

import pytest

from search_spaces.configurations import parse_space
from tests.tuner.conftest import SPACE
from trainables.evaluation.metrics import accuracies, metric_named
from trainables.evaluation.tiers import TIERS, AttackRow
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.tracking.mlflow_internals import MAX_VIEW_LENGTH
from tuner.tracking.server import connect, quiet_mlflow
from tuner.tracking.views import all_sweeps_view, configurations_view, find_table, sweep_view, varied_settings
from tuner.tracking.web.mlflow_pages import open_table
from tuner.tracking.writer import MlflowWriter

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


COMPARED = ("robust", "watch/robust", "clean", "fgsm", "pgd")


def content(view):
    assert view.content.startswith("deflate;")
    return json.loads(zlib.decompress(base64.b64decode(view.content.removeprefix("deflate;"))))


def column(name):
    return f"metrics.`{metric_named(name).mlflow_name}`"


def test_accuracies_come_first_then_the_state_then_what_varies(make_sweep):
    sweep = make_sweep()
    view = content(sweep_view(sweep))
    assert view["selectedColumns"] == [
        *map(column, COMPARED),
        "tags.`tuner.state`",
        *(f"params.`{name}`" for name in ("generator.learning_rate", "ratio.kind", "ratio.generator_turns")),
    ]
    assert (view["orderByKey"], view["orderByAsc"]) == (column("robust"), False)
    assert set(view["columnWidths"]) == set(view["columnOrder"])
    assert f"'{sweep.id}'" in view["searchFilter"]
    assert view["searchFilter"].startswith("tags.`tuner.sweep` = 'tiny' AND ")


def test_the_configurations_of_a_confirmed_sweep_have_means_leads_and_p_values(make_sweep):
    sweep = make_sweep()
    view = content(configurations_view(sweep))
    mean = "metrics.`test/robust/mean`"
    assert view["searchFilter"] == f"tags.`tuner.sweep_id` = '{sweep.id}' AND tags.`tuner.kind` = 'configuration'"
    assert (view["orderByKey"], view["orderByAsc"]) == (mean, False)
    assert view["selectedColumns"][:6] == [
        "tags.`tuner.verdict`",
        mean,
        "metrics.`lead/standard/mean`",
        "metrics.`p/standard`",
        "metrics.`lead/fgsm_retraining/mean`",
        "metrics.`p/fgsm_retraining`",
    ]
    assert mean.replace("mean", "low") in view["selectedColumns"]


def test_an_attack_that_is_added_to_the_tiers_is_a_column():
    row = AttackRow("added", "added", "pgd")
    with patch.dict(TIERS, rank=(*TIERS["rank"], row)):
        assert column("added") in content(all_sweeps_view())["selectedColumns"]
        assert "added" in [metric.label for metric in accuracies("comparison")]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_it_is_sorted_by_the_first_objective_and_shows_all(make_sweep, mode):
    objectives = f"objective: [{{metric: compute, mode: {mode}}}, {{metric: robust}}]\nbudget:"
    sweep = make_sweep(replace=("budget:", objectives))
    view = content(sweep_view(sweep))
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`cost/compute`", mode == "min")
    assert view["selectedColumns"][:6] == [
        *map(column, ("robust", "watch/robust", "clean", "fgsm", "pgd")),
        "metrics.`cost/compute`",
    ]


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ("{ratio: {kind: constant, generator_turns: {choice: [1, 2]}}}", ["ratio.generator_turns"]),
        ("{batch_size: 32}", []),
        (
            "{generator: {perturbation_bound: {float: [0.1, 0.2], schedule: [constant, linear]}}}",
            [f"generator.perturbation_bound{part}" for part in ("", ".kind", ".values")],
        ),
    ],
)
def test_what_varies_is_named_as_in_the_settings(parameters, names):
    space = parse_space(SPACE[: SPACE.index("parameters")] + f"parameters: {parameters}", "tiny.yaml")
    assert varied_settings(space) == names


def test_of_a_space_with_more_than_fits_the_first_columns_are_shown(make_sweep, monkeypatch):
    sweep = make_sweep()
    whole = sweep_view(sweep)
    assert len(whole.content) < MAX_VIEW_LENGTH
    monkeypatch.setattr("tuner.tracking.views.MAX_VIEW_LENGTH", len(whole.content) - 1)
    shorter = content(sweep_view(sweep))["selectedColumns"]  # of the same sweep: ids compress to different lengths
    assert shorter
    assert shorter == content(whole)["selectedColumns"][: len(shorter)]
    assert len(shorter) < len(content(whole)["selectedColumns"])


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Return the file of a database without runs; making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patched, quiet_mlflow():
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(folder)
    return folder / "mlflow.db"


@pytest.fixture
def home(tmp_path, database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copyfile(database, tmp_path / "mlflow.db")
    return SweepStore(tmp_path)


def test_the_only_sweep_of_a_home_is_opened_and_with_several_all(make_sweep, home):
    sweep = make_sweep()
    with quiet_mlflow():
        client, table = open_table(home, None)
        assert (table.sweep, f"viewStateShareKey={sweep.id}" in table.page) == ("tiny", True)
        assert table.missing == "MLflow has no runs of tiny yet: `tuner sync tiny` writes them"
        make_sweep("other")
        assert find_table(client, home, None).sweep is None
        train_and_mirror(sweep)
        assert find_table(client, home, "tiny").missing == ""
        assert find_table(client, home, None).missing == ""
        assert find_table(client, home, "other").missing.startswith("MLflow has no runs of other yet")
        with pytest.raises(UserError, match="no sweep named 'tinny'"):
            find_table(client, home, "tinny")


def train_and_mirror(sweep):
    ledger = Ledger(sweep)
    run = ledger.next_run()
    MlflowWriter(sweep).write(ledger.records[run.key])


def test_a_damaged_sweep_does_not_keep_the_pages_closed(make_sweep, home):
    make_sweep()
    (home.root / "tiny" / "sweep.json").write_text("{")
    with quiet_mlflow():
        assert open_table(home, None)[1].sweep is None


def test_a_table_that_cannot_be_made_is_said_and_the_pages_open_all_the_same(make_sweep, home, monkeypatch):
    sweep: SweepFolder = make_sweep()
    with quiet_mlflow():
        client, _ = open_table(home, None)
        monkeypatch.setattr(type(client), "set_experiment_tag", refuse)
        monkeypatch.setattr("tuner.tracking.views.view_tag", lambda key: f"mlflow.sharedViewState.not-{key}")
        table = find_table(client, home, sweep.name)
    assert table.missing == (
        "the table cannot be made: attempt to write a readonly database; `tuner sync tiny` makes it, if it may write "
        "there"
    )
    assert table.page == "/#/experiments/1/runs?workflowType=machine_learning"


def refuse(*arguments):
    raise OSError("attempt to write a readonly database\nmore")
