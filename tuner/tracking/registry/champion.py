"""MLflow's registry of models: the best run of a sweep as the version that ``models:/SWEEP@champion`` names.

A version is a LoggedModel with a folder of artifacts: bundle, pictures, signature, input example. It is found again by
the digest of its configuration and weights, so that the same run is registered once. A new champion takes the alias;
the former one keeps its version.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.common.process_state import environment
from tuner.results.bundles.export import export_run
from tuner.results.confirmation import is_confirmed
from tuner.results.selection import choose_run, describe_choice
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Snapshot, read_snapshot
from tuner.tracking.artifacts import is_there
from tuner.tracking.registry.logged_model import DIGEST_TAG, MODEL_FILE, ModelLogger, Say
from tuner.tracking.server import RUN_TAG, SWEEP_TAG, connect, experiment, quiet_mlflow

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

ALIAS = "champion"
_CONFIRMED_TAG, _DESCRIBED_TAG, _CHAMPION_TAG = "tuner.confirmed", "tuner.described", "tuner.champion"
_QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_UV_AUTO_DETECT": "false"}


def register_champion(sweep: SweepFolder, tell: Say, warn: Say) -> None:
    """Register the run that ``tuner export`` takes by default as the champion of a sweep, if there is such a run.

    Nothing that fails is raised: it is one warning, and the next call makes what is missing.

    Args:
        sweep: whose runs MLflow has; the caller holds its lock.
        tell: is told of a new champion.
        warn: is told what could not be made.
    """
    try:
        snapshot = read_snapshot(sweep, is_locked=False)
        if snapshot.best is None and (snapshot.confirmation is None or snapshot.confirmation.run is None):
            return
        with quiet_mlflow(), environment(_QUIET), tempfile.TemporaryDirectory() as folder:
            line = _Registration(snapshot, choose_run(snapshot, None), Path(folder), warn).make()
    except Exception as error:  # whatever MLflow, its databases and the files of a bundle raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        warn(f"MLflow's registry has no champion of {sweep.name}: {reason}; `tuner sync {sweep.name}` registers it")
        return
    if line:
        tell(line)


def registered_champion(client: MlflowClient, sweep: SweepFolder) -> str | None:
    """Return by which address MLflow's registry has the champion of a sweep; None if it has none."""
    for model in client.search_registered_models(f"tags.`{SWEEP_TAG}` = '{sweep.id}'"):
        if ALIAS in model.aliases:
            return f"models:/{model.name}@{ALIAS}"
    return None


class _Registration:
    """Registers one run of a sweep; leaves out each step that was done before, if only by a process that was killed.

    Args:
        snapshot: of the sweep.
        record: of the run.
        folder: an empty folder for the files that are sent.
        warn: is told which pictures are missing.
    """

    def __init__(self, snapshot: Snapshot, record: Record, folder: Path, warn: Say) -> None:
        from trainables.storage.bundle_files import content_digest

        self._snapshot, self._record, self._key = snapshot, record, record.run.key
        home = snapshot.sweep.folder.parent
        self._client = connect(home)
        bundle = export_run(snapshot, folder / "bundle", self._key, with_program=False)
        self._digest = content_digest(bundle)
        self._logger = ModelLogger(
            client=self._client,
            experiment_id=experiment(self._client, home),
            snapshot=snapshot,
            record=record,
            bundle=bundle,
            digest=self._digest,
            folder=folder,
            warn=warn,
        )

    def make(self) -> str:
        """Make the version and give it the alias; return a line for a person, empty if nothing was missing."""
        name = self._registered_model()
        version, registered = self._version(name), self._client.get_registered_model(name)
        # A person may give the alias to another version: it stays there until there is another champion.
        if version and ALIAS in registered.aliases and registered.tags.get(_CHAMPION_TAG) == self._digest:
            self._describe(version)
            return ""
        model = self._logger.log()
        version = version or self._client.create_model_version(
            name,
            model.artifact_location,  # not models:/ID, which MLflow looks up in the process's own tracking server
            model.source_run_id,
            {RUN_TAG: self._key, DIGEST_TAG: self._digest},
            model_id=model.model_id,
        )
        versions = json.dumps([{"name": name, "version": version.version}])
        self._client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": versions})
        self._describe(version)
        self._client.set_registered_model_alias(name, ALIAS, version.version)
        self._client.set_registered_model_tag(name, _CHAMPION_TAG, self._digest)
        return f"{self._key} is the champion: version {version.version} of models:/{name}@{ALIAS}"

    def _registered_model(self) -> str:
        """Return the name of the sweep's registered model: that of the sweep, or a longer one if that is taken."""
        from mlflow.exceptions import MlflowException

        sweep = self._snapshot.sweep
        existing = self._client.search_registered_models(f"tags.`{SWEEP_TAG}` = '{sweep.id}'")
        if existing:
            return str(existing[0].name)
        for name in (sweep.name, f"{sweep.name}-{sweep.id[:8]}"):
            try:
                self._client.create_registered_model(name, {SWEEP_TAG: sweep.id}, _introduction(sweep, name))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS" or name != sweep.name:
                    raise
            else:
                break
        return name

    def _version(self, name: str) -> ModelVersion | None:
        """Return the version of the run, if it is there with its files."""
        query = f"name = '{name}' AND tags.`{DIGEST_TAG}` = '{self._digest}'"
        for version in self._client.search_model_versions(query):
            if version.source and is_there(version.source, MODEL_FILE):
                return version
        return None

    def _describe(self, version: ModelVersion) -> None:
        """Say in words and in a tag what is known of the run now; what a person has written is kept."""
        text = "\n".join(f"- {sentence}" for sentence in describe_choice(self._snapshot, self._record))
        tags = {_CONFIRMED_TAG: str(is_confirmed(self._snapshot.confirmation)).lower(), _DESCRIBED_TAG: _digest(text)}
        current = version.description or ""
        if current and version.tags.get(_DESCRIBED_TAG) != _digest(current):
            del tags[_DESCRIBED_TAG]
        elif current != text:
            self._client.update_model_version(version.name, version.version, text)
        for tag, value in tags.items():
            if version.tags.get(tag) != value:
                self._client.set_model_version_tag(version.name, version.version, tag, value)


def _introduction(sweep: SweepFolder, name: str) -> str:
    space = sweep.space
    return (
        f"The best run of the sweep `{sweep.name}`: {space.dataset.name}, epsilon {space.evaluation.epsilon:g}, "
        f"{space.objective.mode} {space.objective.metric}. The alias `{ALIAS}` is on what `tuner export {sweep.name}` "
        f"exports; former champions keep their versions. In Python:\n\n"
        f'    model = mlflow.pyfunc.load_model("models:/{name}@{ALIAS}")\n'
        "    logits = model.predict(images)  # (n, 1, 28, 28), pixels in [0, 1]\n"
        "    classifier = model.get_raw_model()  # a torch.nn.Module"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
