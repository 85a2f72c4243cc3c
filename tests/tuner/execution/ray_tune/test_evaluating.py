"""What a worker of a cluster does to evaluate a run: the same numbers as here, and problems as words, not errors."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from trainables.judging import saved
from trainables.worker.context import WorkerContext
from tuner.errors import DataError
from tuner.execution.ray_tune.evaluating import EvaluationTask, _evaluate
from tuner.sweep.snapshot import read_snapshot

NUM_IMAGES = 20


@pytest.fixture
def record(trained_sweep):
    return next(one for one in read_snapshot(trained_sweep).records if one.state == "complete")


@pytest.fixture
def task(trained_sweep, record) -> EvaluationTask:
    checkpoint = trained_sweep.stored_checkpoint(record)
    return EvaluationTask(
        record.run.key, record.run.settings, checkpoint, "rank", NUM_IMAGES, False, 1, WorkerContext()
    )


def test_a_worker_measures_what_is_measured_here(trained_sweep, record, task):
    evaluated = _evaluate(task)
    trained = saved.load_run_classifier(record.run.settings, trained_sweep.last_checkpoint(record))
    assert evaluated.results == saved.evaluate_classifier(trained, "test", num_images=NUM_IMAGES)
    assert evaluated.where.endswith(" (cpu)")
    assert evaluated.problem == ""


def test_a_worker_fetches_the_checkpoint_from_an_object_store(tmp_path, record, task):
    there = tmp_path / "store" / record.run.folder.relative_to(tmp_path) / "checkpoint"
    shutil.copytree(task.checkpoint.folder, there)
    shutil.rmtree(task.checkpoint.folder)
    context = WorkerContext(store_url=f"file://{tmp_path}/store", store_root=str(tmp_path))
    assert _evaluate(replace(task, context=context)).results is not None
    assert not task.checkpoint.folder.exists()


@pytest.mark.parametrize(
    ("error", "problem", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "memory", "has no more memory"),
        (DataError("no images there"), "mistake", "no images there"),
    ],
)
def test_what_goes_wrong_is_named(task, monkeypatch, error, problem, reason):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(saved, "evaluate_classifier", fail)
    evaluated = _evaluate(task)
    assert (evaluated.problem, evaluated.results) == (problem, None)
    assert reason in evaluated.reason


def test_a_checkpoint_that_is_gone_is_named_with_what_to_do(task):
    shutil.rmtree(task.checkpoint.folder)
    evaluated = _evaluate(task)
    assert evaluated.problem == "checkpoint"
    assert "--repair" in evaluated.reason
