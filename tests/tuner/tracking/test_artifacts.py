"""Files of artifacts stay beside MLflow's database when the folder with both is moved or copied."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from tests.tuner.conftest import SPACE, train_all
from tuner.search.ledger import Ledger
from tuner.sweep.evaluations import EvaluationResults
from tuner.sweep.folder import SweepFolder
from tuner.tracking.artifacts import new_location
from tuner.tracking.server import EXPERIMENT, connect, experiment, quiet_mlflow
from tuner.tracking.sync import mirror_now

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Return a home with one sweep that is in MLflow, with a picture."""
    home = tmp_path_factory.mktemp("made") / "home"
    train_all(Ledger(SweepFolder.create("tiny", SPACE, "tiny.yaml", home=home, num_trials=1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        _sync(home)
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch) -> Path:
    """Return a copy of that home that has its own place of artifacts."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Path(shutil.copytree(made, tmp_path / "home"))
    with quiet_mlflow():
        experiment(connect(home), home)
    assert _files(home)["comparison.png"].is_relative_to(home)
    return home


def _sync(home: Path) -> None:
    output = io.StringIO()
    mirror_now(SweepFolder.open("tiny", home=home), Console(file=output), with_runs=False)
    assert output.getvalue() == ""


def _files(home: Path) -> dict[str, Path]:
    """Return where the files of all runs are as MLflow has it."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    with quiet_mlflow():
        client = connect(home)
        runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
        return {
            file.path: Path(local_file_uri_to_path(run.info.artifact_uri), file.path)
            for run in runs
            for file in client.list_artifacts(run.info.run_id)
        }


@pytest.mark.parametrize("name", ["other", "é ü#;", "50%20?"])
def test_after_a_move_they_are_found_and_written_in_the_new_place(home, tmp_path, name):
    moved = tmp_path / name / "home"
    moved.parent.mkdir()
    picture = _files(home)["comparison.png"]
    picture.write_bytes(b"an earlier one")
    home.rename(moved)
    _sync(moved)
    assert not home.exists()
    assert _files(moved)["comparison.png"] == moved / picture.relative_to(home)
    assert _files(moved)["comparison.png"].read_bytes() != b"an earlier one"


def test_a_copy_leaves_the_original_as_it_was(home, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    picture = _files(home)["comparison.png"]
    picture.write_bytes(b"as it was")
    _sync(copy)
    assert picture.read_bytes() == b"as it was"
    assert _files(copy)["comparison.png"].is_relative_to(copy)
    assert _files(home)["comparison.png"] == picture


def test_a_home_that_is_reached_by_a_link_is_the_same_place(home, tmp_path):
    (tmp_path / "link").symlink_to(home)
    before = _files(home)
    _sync(tmp_path / "link")
    assert _files(home) == before


def test_of_a_database_elsewhere_they_are_beside_it_and_those_of_earlier_releases_where_they_are(
    home, tmp_path, monkeypatch
):
    database = tmp_path / "elsewhere/runs.db"
    database.parent.mkdir()
    uri = f"sqlite:///{database}"
    assert new_location(uri) == (tmp_path / "elsewhere/mlflow-artifacts").as_uri()
    shutil.copy(home / "mlflow.db", database)  # says that the artifacts are in the home, as earlier releases had it
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    _sync(home)
    assert _files(home)["comparison.png"].is_relative_to(home)
    home.rename(tmp_path / "moved")
    _sync(tmp_path / "moved")
    assert _files(tmp_path / "moved")["comparison.png"].is_relative_to(tmp_path / "moved")


def test_files_that_are_missing_there_are_sent_again(home):
    results = EvaluationResults(
        tier="rank",
        dataset="digits",
        split="test",
        images=1,
        epsilon=0.3,
        metrics={"robust": 0.5},
        run="trial-0000",
    )
    (home / "tiny/trials/0000/test.json").write_text(results.model_dump_json())
    _sync(home)
    sent = _files(home)["test.json"]
    shutil.rmtree(home / "mlflow-artifacts")
    _sync(home)
    assert sent.is_file()
    assert set(_files(home)) == {"comparison.png", "test.json"}
