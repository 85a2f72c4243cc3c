"""What MLflow's pages read, write and delete stays in the folder of a run, whatever symbolic links are there."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from tuner.tracking.confined_artifacts import ConfinedArtifacts

PATHS = ("link.txt", "folder/secret", "folder")


@pytest.fixture
def secret(tmp_path) -> Path:
    """Return a file outside of the artifacts, to which links in a run's folder lead."""
    secret = tmp_path / "outside/secret"
    secret.parent.mkdir()
    secret.write_text('{"key": 1}')
    run = tmp_path / "mlflow-artifacts/run/artifacts"
    run.mkdir(parents=True)
    (run / "picture.png").write_bytes(b"picture")
    (run / "link.txt").symlink_to(secret)
    (run / "traces.json").symlink_to(secret)
    (run / "folder").symlink_to(secret.parent)
    (tmp_path / "mlflow-artifacts/linked_run").symlink_to(run.parent)
    (tmp_path / "mlflow-artifacts/other").mkdir()
    (tmp_path / "mlflow-artifacts/other/artifacts").symlink_to(secret.parent)
    return secret


@pytest.fixture
def artifacts(secret) -> ConfinedArtifacts:
    return ConfinedArtifacts(str(secret.parents[1] / "mlflow-artifacts/run/artifacts"))


async def _chunks():
    yield b"changed"


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_read_written_or_deleted_through_a_link(artifacts, secret, tmp_path, path):
    (tmp_path / "secret").write_text("changed")
    head, _, tail = path.rpartition("/")
    for use in (
        lambda: artifacts.get_local_path(path),
        lambda: artifacts.download_artifacts(path, str(tmp_path)),
        lambda: artifacts.delete_artifacts(path),
        lambda: artifacts.list_artifacts("folder"),
        lambda: artifacts.log_artifact(str(tmp_path / "secret"), "folder"),
        lambda: artifacts.log_artifact_from_stream(io.BytesIO(b"changed"), tail, head or None),
        lambda: asyncio.run(artifacts.log_artifact_from_async_stream(_chunks(), tail, head or None)),
        artifacts.download_trace_data,
    ):
        with pytest.raises(MlflowException, match="outside the artifact directory"):
            use()
    assert secret.read_text() == '{"key": 1}'


@pytest.mark.parametrize("run", ["linked_run/artifacts", "other/artifacts"])
def test_the_folder_of_a_run_is_no_link(secret, run):
    root = secret.parents[1] / "mlflow-artifacts"
    for uri in (str(root / run), (root / run).as_uri()):
        with pytest.raises(MlflowException, match="a symbolic link leads out of the folder of artifacts"):
            ConfinedArtifacts(uri)


def test_what_is_there_is_read_also_where_the_home_is_reached_by_a_link(artifacts, tmp_path):
    (tmp_path / "home").symlink_to(tmp_path / "mlflow-artifacts")
    for repository in (artifacts, ConfinedArtifacts(str(tmp_path / "home/run/artifacts"))):
        assert Path(repository.get_local_path("picture.png")).read_bytes() == b"picture"
        repository.log_artifact_from_stream(io.BytesIO(b"new"), "new.txt", "sub")
        repository.delete_artifacts("sub")
        assert "picture.png" in [file.path for file in repository.list_artifacts()]


def test_a_run_without_files_has_none(tmp_path):
    assert ConfinedArtifacts(str(tmp_path / "a/b/artifacts")).list_artifacts() == []
