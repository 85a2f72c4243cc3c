"""The best run as a LoggedModel of MLflow: a folder of artifacts with signature, input example, bundle and pictures."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version as installed
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.results.pictures.draw import draw_run
from tuner.sweep.runs import SWEEP, Record, flatten, read_metrics
from tuner.sweep.snapshot import Snapshot
from tuner.tracking.artifacts import fetch_files, is_there, send_file
from tuner.tracking.mlflow_internals import PARAM_LENGTH, latest_metrics
from tuner.tracking.server import RUN_TAG, SWEEP_TAG

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.tracking import MlflowClient

LOADER = "trainables.networks.registered"
"""The module that MLflow imports to load a model. Every model has its name in it, so it must not change."""

MODEL_FILE = "MLmodel"
DIGEST_TAG = "tuner.digest"
_NEEDED = ("adversarial-tuner", "torch", "mlflow")

Say = Callable[[str], object]


@dataclass(frozen=True)
class ModelLogger:
    """Logs the classifier of one run of a sweep to MLflow, once.

    Attributes:
        client: of MLflow, which has the sweep's runs.
        experiment_id: of these.
        snapshot: of the sweep.
        record: of the run.
        bundle: of the run.
        digest: of the bundle's configuration and weights.
        folder: for what is sent.
        warn: is told which pictures are missing.
    """

    client: MlflowClient
    experiment_id: str
    snapshot: Snapshot
    record: Record
    bundle: Path
    digest: str
    folder: Path
    warn: Say

    def log(self) -> LoggedModel:
        """Return the run's LoggedModel; what it lacks, if another process was killed over it, is made."""
        sweep_id, run = self.snapshot.sweep.id, self.record.run
        tags = {SWEEP_TAG: sweep_id, RUN_TAG: run.key, DIGEST_TAG: self.digest}
        query = " AND ".join(f"tags.`{tag}` = '{tags[tag]}'" for tag in (SWEEP_TAG, DIGEST_TAG))
        found = self.client.search_logged_models([self.experiment_id], query)
        mirrored = self._mirrored(run.key)
        model = next(iter(found), None) or self.client.create_logged_model(
            self.experiment_id,
            f"{self.snapshot.name}-{run.key.replace('.', '-')}",
            mirrored.info.run_id,
            tags,
            {name: value[:PARAM_LENGTH] for name, value in flatten(run.settings).items()},
            "classifier",
        )
        if str(model.status) != "READY" or not is_there(model.artifact_location, MODEL_FILE):
            self.client.log_model_artifacts(model.model_id, str(self._save(model, mirrored)))
            self._link(model, mirrored)
            model = self.client.finalize_logged_model(model.model_id, "READY")
        return model

    def _mirrored(self, key: str) -> Run:
        sweep = self.snapshot.sweep
        query = f"tags.`{SWEEP_TAG}` = '{sweep.id}' AND tags.`{RUN_TAG}` = '{key}'"
        for run in self.client.search_runs([self.experiment_id], query, max_results=1):
            return run
        raise LookupError(f"MLflow lacks its run {key}")

    def _save(self, model: LoggedModel, mirrored: Run) -> Path:
        """Return a folder with all files of a model; none of them is a pickle."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its imports warn about MLflow's own code
            import mlflow.pyfunc
            from mlflow.models import Model, infer_signature

        from trainables.networks.registered import RegisteredClassifier, example_images

        sweep, target = self.snapshot.sweep, self.folder / "model"
        images = example_images(self.record.run.settings, Path(sweep.data) if sweep.data else None)
        versions = {**sweep.read_provenance()["versions"], "mlflow": installed("mlflow")}
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=LOADER,
            data_path=str(self.bundle),
            mlflow_model=Model(
                model.artifact_location, mirrored.info.run_id, model_id=model.model_id, model_uuid=model.model_id
            ),
            signature=infer_signature(images, RegisteredClassifier(self.bundle).predict(images)),
            input_example=images,
            pip_requirements=[f"{name}=={versions[name].partition('+')[0]}" for name in _NEEDED if name in versions],
        )
        try:
            self._collect_pictures(mirrored, target / "pictures")
        except Exception as error:  # whatever drawing raises
            self.warn(f"The champion has no pictures in MLflow: {error}")
        return target

    def _collect_pictures(self, mirrored: Run, target: Path) -> None:
        """Take the pictures of the run and of the sweep that MLflow has; draw the run's if it has none."""
        uri, here = self.client.tracking_uri, mirrored.info.artifact_uri
        target.mkdir()
        fetch_files(uri, self._mirrored(SWEEP).info.artifact_uri, ".png", target)
        if fetch_files(uri, here, ".png", target):
            return
        drawing = self.folder / "drawing"
        drawing.mkdir()
        rows = {self.record.run.key: read_metrics(self.record.run)}
        drawn = draw_run(replace(self.snapshot, rows=rows), self.record, drawing)
        for picture in chain.from_iterable(drawn.files.values()):
            send_file(uri, here, picture)
            shutil.copy(picture, target)
        for missing in drawn.missing:
            self.warn(f"Not drawn: {missing}")

    def _link(self, model: LoggedModel, mirrored: Run) -> None:
        """Name the model in the runs of the trial and of the sweep, and give it the trial's last metrics."""
        from mlflow.entities import LoggedModelOutput, Metric

        for run in (mirrored, self._mirrored(SWEEP)):
            known = run.outputs.model_outputs if run.outputs else []
            if all(output.model_id != model.model_id for output in known):
                self.client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
        # The same points as those of the run, which MLflow stores once; it shows them in this order.
        last = [
            Metric(metric.key, metric.value, metric.timestamp, metric.step, model_id=model.model_id)
            for metric in sorted(latest_metrics(mirrored), key=lambda metric: not metric.key.startswith("accuracy/"))
        ]
        self.client.log_batch(mirrored.info.run_id, last)
