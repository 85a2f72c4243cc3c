"""Files of artifacts as MLflow's pages read and write them: no symbolic link leads out of the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.utils.uri import validate_path_within_directory


class ConfinedArtifacts(LocalArtifactRepository):
    """Artifacts in a folder of this machine, without what symbolic links name outside of it.

    `LocalArtifactRepository` resolves links inside the folder, except in what is overridden here, and takes the folder
    itself wherever it leads. The last two names of the folder are a run's id and ``artifacts``: neither may be a link.

    Raises:
        MlflowException: the folder, or a path in it, leads to another place.
    """

    def __init__(self, artifact_uri: str, *args: Any, **options: Any) -> None:
        super().__init__(artifact_uri, *args, **options)
        folder = Path(self.artifact_dir).absolute()
        root = folder.parent.parent
        if folder.resolve() != root.resolve() / folder.relative_to(root):
            raise MlflowException.invalid_parameter_value(
                f"a symbolic link leads out of the folder of artifacts: {folder} is {folder.resolve()}"
            )

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file or folder."""
        self._check(artifact_path or "")
        LocalArtifactRepository.delete_artifacts(self, artifact_path)

    def download_trace_data(self) -> dict[str, Any]:
        """Return the file of a trace."""
        self._check("traces.json")
        return super().download_trace_data()

    def _check(self, path: str) -> None:
        validate_path_within_directory(self.artifact_dir, str(Path(self.artifact_dir, path)))
