"""What happens to single runs on Ray: diverging, raising, and workers that die."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from ray.tune.experiment import Trial

from trainables.worker.trainable import RunTrainable
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.ray_tune.runner import execute
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]

SPACE = """\
name: faults
trainable: standard
dataset: {name: digits, validation: 200}
evaluation: {watch_images: 50, rank_images: 100}
budget: {trials: 3, compute: 3}
search: {sampler: random}
parameters:
  classifier: {architecture: mlp, learning_rate: {float: [1.0e-3, 2.0e-3]}}
"""


class DyingOnce(RunTrainable):
    """Its worker dies in the second step of trial 1, the first time."""

    def step(self):
        marker = Path(self._run.folder) / "died"
        if self._run.key == "trial-0001" and self._loop is not None and not marker.exists():
            marker.write_text(str(os.getpid()))
            os._exit(1)
        return super().step()


class DyingAlways(RunTrainable):
    """The worker of trial 1 dies whenever it starts."""

    def step(self):
        if self._run.key == "trial-0001":
            os._exit(1)
        return super().step()


class Raising(RunTrainable):
    """Trial 1 raises."""

    def _start(self):
        if self._run.key == "trial-0001":
            raise RuntimeError("this configuration cannot be")
        return super()._start()


def run(folder: Path, trainable=RunTrainable, text: str = SPACE) -> SweepFolder:
    sweep = SweepFolder.create("faults", text, "faults.yaml", home=folder)
    execute(Ledger(sweep), RunResources(), trainable=trainable)
    return sweep


def states(sweep: SweepFolder) -> dict[str, str]:
    return {record.run.key: record.state for record in read_records(sweep)}


def test_a_worker_that_dies_is_tried_again_from_its_checkpoint(tmp_path):
    sweep = run(tmp_path, DyingOnce)
    assert set(states(sweep).values()) == {"complete"}
    record = next(record for record in read_records(sweep) if record.run.key == "trial-0001")
    assert (record.run.folder / "died").exists()
    assert [row["step"] for row in read_metrics(record.run)] == [1, 2, 3]


def test_a_worker_that_always_dies_fails_its_run_alone(tmp_path):
    sweep = run(tmp_path, DyingAlways)
    assert states(sweep) == {"trial-0000": "complete", "trial-0001": "failed", "trial-0002": "complete"}
    reason = next(record.reason for record in read_records(sweep) if record.state == "failed")
    assert reason.startswith("worker:")
    assert "died unexpectedly" in reason


def test_a_run_that_raises_fails_alone_with_its_traceback(tmp_path):
    sweep = run(tmp_path, Raising)
    assert states(sweep) == {"trial-0000": "complete", "trial-0001": "failed", "trial-0002": "complete"}
    reason = next(record.reason for record in read_records(sweep) if record.state == "failed")
    assert "RuntimeError: this configuration cannot be" in reason
    assert "Traceback" in reason


def test_a_run_that_diverges_fails_and_says_so(tmp_path):
    text = SPACE.replace("{float: [1.0e-3, 2.0e-3]}", "1.0e+30").replace("architecture: mlp", "architecture: small_cnn")
    sweep = run(tmp_path, text=text)
    assert set(states(sweep).values()) == {"failed"}
    assert all(record.reason.startswith("diverged: classifier_loss is") for record in read_records(sweep))


def test_what_tune_keeps_of_a_run_is_let_go_with_its_end(tmp_path):
    sweep = SweepFolder.create("faults", SPACE.replace("trials: 3", "trials: 8"), "faults.yaml", home=tmp_path)
    kept = []

    class Census:
        def changed(self, record):
            if record.state == "complete":
                gc.collect()
                kept.append(sum(type(thing) is Trial for thing in gc.get_objects()))

    execute(Ledger(sweep), RunResources(), [Census()], max_concurrent=2)
    assert list(states(sweep).values()) == 8 * ["complete"]
    assert max(kept) <= kept[0] + 2
