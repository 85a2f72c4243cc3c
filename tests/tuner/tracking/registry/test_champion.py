"""The best run in MLflow's registry: loaded by its alias, registered once, whatever killed the driver before."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuner.conftest import forget_location
from tuner.execution.upkeep.deleting import delete_sweep
from tuner.sweep.folder import SweepFolder
from tuner.sweep.snapshot import read_snapshot
from tuner.tracking.registry import champion
from tuner.tracking.registry.champion import register_champion
from tuner.tracking.server import quiet_mlflow, tracking_uri
from tuner.tracking.writer import MlflowWriter

pytestmark = [
    pytest.mark.usefixtures("with_mlflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

PAGE = (Path(__file__).parents[4] / "docs" / "howto" / "models_in_mlflow.md").read_text()
CHANGES = (
    *("create_registered_model", "create_logged_model", "log_model_artifacts", "log_outputs", "log_batch"),
    *("finalize_logged_model", "create_model_version", "set_logged_model_tags", "update_model_version"),
    *("set_model_version_tag", "set_registered_model_alias", "set_registered_model_tag"),
)


@pytest.fixture(scope="module")
def _mirrored_once(_trained_once, tmp_path_factory) -> Path:
    """Return a home with a trained sweep that MLflow has, without its champion."""
    home = tmp_path_factory.mktemp("mirrored")
    shutil.copytree(_trained_once.folder, home / "real")
    forget_location(home / "real")
    with pytest.MonkeyPatch.context() as patch, quiet_mlflow():
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        sweep = SweepFolder.open("real", home=home)
        writer = MlflowWriter(sweep)
        for record in read_snapshot(sweep).records:
            writer.write(record)
        writer.finish("completed", (), {})
        # Drawing takes seconds: the pictures of the trials are ones that MLflow has.
        picture = home / "training.png"
        picture.write_bytes(b"a picture")
        for run in _runs(home):
            _client(home).log_artifact(run.info.run_id, str(picture))
    return home


@pytest.fixture
def sweep(_mirrored_once, tmp_path, monkeypatch) -> SweepFolder:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(_mirrored_once, tmp_path / "home")
    return SweepFolder.open("real", home=tmp_path / "home")


def _client(home: Path):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri(home))


def _runs(home: Path):
    return _client(home).search_runs(["1"])


def register(sweep: SweepFolder) -> tuple[list[str], list[str]]:
    """Register the champion, and return what is told and what is warned of."""
    told: list[str] = []
    warnings: list[str] = []
    register_champion(sweep, told.append, warnings.append)
    return told, warnings


def versions(sweep: SweepFolder, name: str = "real"):
    """Return the versions of a registered model by their numbers, with the aliases that they have."""
    client = _client(sweep.folder.parent)
    numbers = [version.version for version in client.search_model_versions(f"name = '{name}'")]
    return {number: client.get_model_version(name, number) for number in numbers}


def with_another_winner(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second best trial be the best from now on."""
    snapshot = read_snapshot(sweep)
    other = next(one for one in snapshot.records if one.run.kind == "trial" and one != snapshot.best)
    records = tuple(
        replace(one, feasible=one.run.kind != "trial" or one.run.key == other.run.key) for one in snapshot.records
    )
    monkeypatch.setattr(champion, "read_snapshot", lambda *_, **__: replace(snapshot, records=records))


def test_the_script_of_the_readme_gives_the_recorded_accuracies(sweep):
    told, warnings = register(sweep)
    assert (len(told), warnings) == (1, [])
    assert "version 1 of models:/real@champion" in told[0]
    (script,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL) if "@champion" in block)
    script = script.replace("digits@champion", "real@champion").replace("print(", "print(__import__('json').dumps(")
    script = script.replace("})  #", "}))  #")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script.replace("sqlite:///sweeps", f"sqlite:///{sweep.folder.parent}")],
        check=False,
        capture_output=True,
        text=True,
        cwd=sweep.folder.parent.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "TUNER"))},
    )
    assert ran.returncode == 0, ran.stderr
    compared = json.loads(ran.stdout)
    assert {name: recorded for name, (_, recorded) in compared.items()} == {
        name: measured for name, (measured, _) in compared.items()
    }
    best = read_snapshot(sweep).best
    accuracies = {name: value for name, value in best.metrics.items() if name in compared}
    assert accuracies == {name: measured for name, (measured, _) in compared.items()}
    assert len(accuracies) > 5


def test_nothing_in_it_is_a_pickle_or_code(sweep):
    register(sweep)
    (version,) = versions(sweep).values()
    folder = Path(version.source.removeprefix("file://"))
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in files} == {"", ".json", ".md", ".png", ".safetensors", ".txt", ".yaml"}
    assert [
        name for name, content in files.items() if content.startswith((b"\x80", b"PK")) or b"cloudpickle" in content
    ] == []
    assert files["pictures/training.png"] == b"a picture"
    bundle = {name.removeprefix("data/bundle/") for name in files if name.startswith("data/bundle/")}
    assert {"configuration.json", "classifier.safetensors", "metrics.json", "provenance.json"} < bundle
    from mlflow.models import Model

    model = Model.load(str(folder))
    assert str(model.signature.inputs.inputs[0].shape) == "(-1, 1, 28, 28)"
    assert str(model.signature.outputs.inputs[0].shape) == "(-1, 10)"
    assert model.flavors["python_function"]["loader_module"] == "trainables.networks.registered"


def test_the_same_winner_is_registered_once_and_another_one_takes_the_alias(sweep, monkeypatch):
    register(sweep)
    first = versions(sweep)
    assert register(sweep) == ([], [])
    assert versions(sweep) == first
    assert first[1].aliases == ["champion"]
    assert first[1].tags["tuner.confirmed"] == "false"
    assert "Not confirmed: `tuner confirm real`" in first[1].description
    with monkeypatch.context() as patch:
        with_another_winner(sweep, patch)
        assert "version 2 of models:/real@champion" in register(sweep)[0][0]
        assert register(sweep) == ([], [])
        both = versions(sweep)
        assert {number: version.aliases for number, version in both.items()} == {1: [], 2: ["champion"]}
        assert both[1].source == first[1].source
        assert Path(both[1].source.removeprefix("file://"), "MLmodel").is_file()
    assert "version 1 of models:/real@champion" in register(sweep)[0][0], "it has won again"
    assert {number: version.aliases for number, version in versions(sweep).items()} == {1: ["champion"], 2: []}


def test_what_a_person_has_changed_stays(sweep, monkeypatch):
    register(sweep)
    client = _client(sweep.folder.parent)
    with monkeypatch.context() as patch:
        with_another_winner(sweep, patch)
        register(sweep)
    register(sweep)
    client.set_registered_model_alias("real", "champion", "2")
    client.update_model_version("real", "1", "a note of mine")
    client.update_registered_model("real", "another one")
    assert register(sweep) == ([], [])
    assert client.get_model_version_by_alias("real", "champion").version == 2
    assert client.get_model_version("real", "1").description == "a note of mine"
    assert client.get_registered_model("real").description == "another one"


def test_what_a_person_has_deleted_is_registered_again(sweep):
    register(sweep)
    client = _client(sweep.folder.parent)
    client.delete_model_version("real", "1")
    assert "version 2 of models:/real@champion" in register(sweep)[0][0]
    shutil.rmtree(Path(versions(sweep)[2].source.removeprefix("file://")))
    assert "version 3 of models:/real@champion" in register(sweep)[0][0]
    client.delete_registered_model("real")
    assert "version 1 of models:/real@champion" in register(sweep)[0][0]


def test_it_outlives_its_sweep_and_deleting_says_so(sweep):
    register(sweep)
    assert delete_sweep(sweep) == ["models:/real@champion stays in MLflow's registry, with its bundle"]
    assert not sweep.folder.exists()
    loaded = champion.connect(sweep.folder.parent).get_model_version_by_alias("real", "champion")
    assert (Path(loaded.source.removeprefix("file://")) / "MLmodel").is_file()


def test_a_name_that_somebody_else_has_is_left_to_them(sweep):
    client = _client(sweep.folder.parent)
    client.create_registered_model("real", description="mine")
    name = f"real-{sweep.id[:8]}"
    assert f"version 1 of models:/{name}@champion" in register(sweep)[0][0]
    assert register(sweep) == ([], [])
    assert versions(sweep) == {}
    assert client.get_registered_model("real").description == "mine"


def test_whatever_request_a_driver_is_killed_after_the_next_one_goes_on(sweep, monkeypatch):
    from mlflow.tracking import MlflowClient

    class Killed(BaseException):
        pass

    killed = []

    def killing(name: str):
        function = getattr(MlflowClient, name)

        def call(*arguments, **options):
            result = function(*arguments, **options)
            if name not in killed:
                killed.append(name)
                raise Killed
            return result

        return call

    for name in CHANGES:
        monkeypatch.setattr(MlflowClient, name, killing(name))
    for _ in CHANGES:
        with pytest.raises(Killed):
            register(sweep)
    assert sorted(killed) == sorted(CHANGES)
    assert register(sweep) == ([], []), "the last request was the last thing to do"
    client = _client(sweep.folder.parent)
    ((number, version),) = versions(sweep).items()
    (model,) = client.search_logged_models(["1"])
    assert (number, version.aliases, version.source) == (1, ["champion"], model.artifact_location)
    assert model.tags["mlflow.modelVersions"] == '[{"name": "real", "version": 1}]'
    runs = {run.data.tags["tuner.run"]: run for run in _runs(sweep.folder.parent)}
    for key in ("sweep", read_snapshot(sweep).best.run.key):
        assert [output.model_id for output in runs[key].outputs.model_outputs] == [model.model_id]
    points = client.get_metric_history(version.run_id, "accuracy/clean")
    assert len({point.step for point in points}) == len(points), "the run's own metrics are there once"


def test_a_registry_out_of_reach_is_one_line_that_says_what_to_do(sweep, monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    told, (warning,) = register(sweep)
    assert told == []
    assert warning.startswith("MLflow's registry has no champion of real: ")
    assert warning.endswith("; `tuner sync real` registers it")
    assert "\n" not in warning
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    assert "version 1 of models:/real@champion" in register(sweep)[0][0]


def test_a_sweep_without_a_best_trial_has_no_champion(make_sweep):
    assert register(make_sweep()) == ([], [])


def test_a_home_that_was_moved_takes_its_champion_along(sweep, tmp_path, monkeypatch):
    register(sweep)
    (tmp_path / "home").rename(tmp_path / "moved")
    moved = SweepFolder.open("real", home=tmp_path / "moved")
    assert register(moved) == ([], [])
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(tmp_path / "moved"))
    model = mlflow.pyfunc.load_model("models:/real@champion")
    assert model.predict(model.input_example).shape == (2, 10)
