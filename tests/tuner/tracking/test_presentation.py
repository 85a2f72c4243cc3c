"""What a person reads in MLflow: names and states of runs, and parameters, metrics and note of a sweep's own run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from search_spaces.configurations import configuration_for, parse_space
from tests.tuner.conftest import SEEDED, SPACE, train, train_all
from tests.tuner.search.test_ledger import PRUNED_SPACE
from tuner.results.compare import comparison_sentences
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Run
from tuner.sweep.snapshot import read_snapshot
from tuner.tracking.mlflow_internals import view_tag
from tuner.tracking.presentation import run_name
from tuner.tracking.server import EXPERIMENT, quiet_mlflow, tracking_uri
from tuner.tracking.sync import mirror_now
from tuner.tracking.views import ALL_SWEEPS
from tuner.tracking.writer import MlflowWriter

pytestmark = [
    pytest.mark.usefixtures("with_mlflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

PGD = (
    SPACE[SPACE.index("parameters") :],
    "parameters: {attack: {reach: {float: [1, 3]}, steps: {int: [2, 20]}}, batch_size: {int: [1, 9]}}",
)


def named(tmp_path, changes, settings, key="trial-0003", kind="trial"):
    space = parse_space(SPACE.replace(*changes), "tiny.yaml")
    return run_name(space, Run(key, kind, 3, configuration_for(space, settings, 5), tmp_path))


RATIO = {"ratio": {"kind": "constant", "generator_turns": 2}}


@pytest.mark.parametrize(
    ("changes", "settings", "key", "name"),
    [
        (("", ""), RATIO, "trial-0003", "trial-0003 gan 2:1"),
        (SEEDED, RATIO, "trial-0003", "trial-0003 gan 2:1 seed=5"),
        (("", ""), {"ratio": {"kind": "adaptive"}}, "trial-0003", "trial-0003 gan <0.6:1"),
        (("", ""), RATIO, "baseline-by_hand.seed9", "by_hand.seed9 gan 2:1"),
        (("", ""), RATIO, "baseline-by_hand.seed100000", "by_hand.seed100000 gan 2:1"),
    ],
)
def test_a_run_is_called_by_what_identifies_it(tmp_path, changes, settings, key, name):
    kind = "baseline" if key.startswith("baseline") else "trial"
    assert named(tmp_path, changes, settings, key, kind) == name


def test_where_the_label_says_nothing_the_first_settings_that_vary_do(tmp_path):
    text = SPACE.replace(*PGD).replace("trainable: gan", "trainable: pgd")
    space = parse_space(text, "tiny.yaml")
    settings = configuration_for(space, {"attack": {"reach": 1.23456, "steps": 3}, "batch_size": 3}, 5)
    assert run_name(space, Run("trial-0001", "trial", 1, settings, tmp_path)) == "trial-0001 pgd reach=1.23 steps=3"


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=500)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Return a sweep of two baselines and six trials: complete, pruned, and one that failed."""
    home = tmp_path_factory.mktemp("home")
    sweep = SweepFolder.create("tiny", SPACE.replace(*PRUNED_SPACE), "tiny.yaml", home=home, num_trials=6)
    ledger = Ledger(sweep)
    while (run := ledger.next_run()) is not None:
        if run.key == "trial-0005":
            ledger.fail(run.key, "diverged: classifier_loss is nan")
        else:
            train(ledger, run, robust=0.9 - 0.1 * run.number)
    return sweep


@pytest.fixture(scope="module")
def client(sweep):
    """Return a client of the MLflow that the sweep has been written to."""
    with quiet_mlflow():
        from mlflow.tracking import MlflowClient

        mirror_now(sweep, Console(file=io.StringIO()), with_runs=False)
        yield MlflowClient(tracking_uri(sweep.folder.parent))


@pytest.fixture(autouse=True)
def _no_other_mlflow(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def experiment_of(client):
    return client.get_experiment_by_name(EXPERIMENT)


def runs_of(client):
    return {run.data.tags["tuner.run"]: run for run in client.search_runs([experiment_of(client).experiment_id])}


def test_pruned_is_finished_with_a_tag_and_failed_is_failed(sweep, client):
    runs, states = runs_of(client), {record.run.key: record.state for record in read_records(sweep)}
    assert set(states.values()) == {"complete", "pruned", "failed"}
    for key, state in states.items():
        assert runs[key].data.tags["tuner.state"] == state
        assert runs[key].info.status == ("FAILED" if state == "failed" else "FINISHED")


def test_what_earlier_releases_wrote_is_healed_and_what_a_person_wrote_is_kept(sweep, client, console):
    healthy = runs_of(client)
    states = {record.run.key: record.state for record in read_records(sweep)}
    pruned = next(key for key, state in states.items() if state == "pruned")
    client.update_run(healthy[pruned].info.run_id, "KILLED", pruned)
    client.set_tag(healthy[pruned].info.run_id, "tuner.sweep", "before-it-was-renamed")
    client.delete_tag(healthy["trial-0000"].info.run_id, "tuner.state")
    client.update_run(healthy["baseline-standard"].info.run_id, name="my favourite")
    client.set_tag(healthy["sweep"].info.run_id, "mlflow.note.content", "What I think of it")
    client.set_experiment_tag(experiment_of(client).experiment_id, view_tag(sweep.id), "deflate;of an earlier release")
    mirror_now(sweep, console, with_runs=False)
    healed = runs_of(client)
    assert healed["sweep"].info.end_time == healthy["sweep"].info.end_time, "it ended with its last report"
    assert healed["baseline-standard"].info.run_name == "my favourite"
    assert healed["sweep"].data.tags["mlflow.note.content"] == "What I think of it"
    for key in (pruned, "trial-0000"):
        assert healed[key].data.to_dictionary() == healthy[key].data.to_dictionary()
        assert healed[key].info.run_name == healthy[key].info.run_name
        assert (healed[key].info.status, healed[key].info.end_time) == ("FINISHED", healthy[key].info.end_time)
    assert len(experiment_of(client).tags[view_tag(sweep.id)]) > 100
    client.set_tag(
        healthy["sweep"].info.run_id, "mlflow.note.content", healthy["sweep"].data.tags["mlflow.note.content"]
    )


def test_the_sweeps_run_says_what_it_is_and_how_far_it_has_come(sweep, client, console):
    parent, snapshot = runs_of(client)["sweep"], read_snapshot(sweep)
    counts = dict.fromkeys(("complete", "pruned", "failed"), 0.0)
    for record in snapshot.records:
        if record.run.kind == "trial":
            counts[record.state] += 1
    assert parent.data.metrics == {
        **{f"sweep/{state}": count for state, count in counts.items()},
        "sweep/trials": 6,
        "sweep/best": pytest.approx(0.9),
        "sweep/front": 1,
        "sweep/compute": sum(row.metrics.get("compute", 0) for row in snapshot.records if row.run.kind == "trial"),
    }
    assert parent.data.params == {
        "space": "tiny",
        "trainable": "gan",
        "dataset": "digits",
        "epsilon": "0.3",
        "objective": "max robust",
        "sampler": "random",
        "pruner": "successive_halving",
        "seed": "7",
        "seeds": "1",
        "baselines": "standard, fgsm_retraining",
        "budget.trials": "6",
        "budget.compute": "3.0",
    }
    note = parent.data.tags["mlflow.note.content"]
    assert all(sentence.strip() in note for sentence in comparison_sentences(snapshot))
    assert f"viewStateShareKey={sweep.id}" in note


def test_writing_the_same_again_adds_nothing_and_a_trial_more_is_a_point_more(sweep, client, console):
    run_id = runs_of(client)["sweep"].info.run_id

    def points(metric):
        return [(point.step, point.value) for point in client.get_metric_history(run_id, metric)]

    mirror_now(sweep, console, with_runs=False)
    assert points("sweep/trials") == [(6, 6.0)]
    extended = sweep.extended(7)
    ledger = Ledger(extended)
    train(ledger, ledger.next_run(), robust=0.95)
    mirror_now(extended, console, with_runs=False)
    assert points("sweep/trials") == [(6, 6.0), (7, 7.0)]
    assert points("sweep/best")[-1] == (7, pytest.approx(0.95))
    parent = runs_of(client)["sweep"]
    assert parent.data.params["budget.trials"] == "6"
    assert "trial-0006" in parent.data.tags["mlflow.note.content"]


def test_a_view_that_cannot_be_made_is_one_line_and_costs_nothing_else(make_sweep, console, monkeypatch):
    sweep = make_sweep()
    train_all(Ledger(sweep))

    def refuse(*arguments):
        raise ConnectionError("the tag is too long\nand more")

    with monkeypatch.context() as broken:
        broken.setattr("tuner.tracking.writer.write_view", refuse)
        mirror_now(sweep, console, with_runs=False)
    said = console.file.getvalue().splitlines()
    assert said == ["MLflow lacks the table or the summary of tiny: the tag is too long; `tuner sync tiny` makes them"]
    with quiet_mlflow():
        client = MlflowWriter(sweep)._client
        assert runs_of(client)["sweep"].info.status == "FINISHED"
        assert view_tag(sweep.id) not in experiment_of(client).tags
        mirror_now(sweep, console, with_runs=False)
        assert {view_tag(sweep.id), view_tag(ALL_SWEEPS)} <= set(experiment_of(client).tags)
    assert len(console.file.getvalue().splitlines()) == 1
