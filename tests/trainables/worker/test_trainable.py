"""The Ray wrapper as a plain object: Ray is imported but never started."""

import os
import shutil
from pathlib import Path

import pytest
import ray
import torch

from trainables.evaluation.metrics import memory_warning
from trainables.storage import checkpoint
from trainables.storage import shared as shared_storage
from trainables.training import registry
from trainables.worker.context import RunTask, WorkerContext
from trainables.worker.fencing import FencedError
from trainables.worker.trainable import RunTrainable


@pytest.fixture
def run_of(settings_of, tmp_path):
    """Return what the driver sends for one run."""

    def build(trainable="standard", folder="run", context=None, **changes):
        settings = settings_of(trainable, **{"compute": 1.5, **changes})
        return RunTask(folder, str(tmp_path / folder), settings, context or WorkerContext()).to_config()

    return build


@pytest.fixture(autouse=True)
def _starts_no_ray():
    before = ray.is_initialized()  # by the tests of integration, if they ran first
    yield
    assert ray.is_initialized() == before


def finish(trainable):
    results = [trainable.step()]
    while not results[-1]["finished"]:
        assert len(results) < 9
        results.append(trainable.step())
    return results


def metrics_of(results):
    return [{name: value for name, value in result["metrics"].items() if not name.endswith("_s")} for result in results]


def newest(run):
    return checkpoint.load_newest(Path(run["folder"]) / "checkpoint")


@pytest.mark.parametrize("trainable", registry.LOOPS)
class TestEveryRecipe:
    def test_reports_until_the_compute_is_spent(self, trainable, run_of):
        results = finish(RunTrainable(run_of(trainable)))
        assert [result["finished"] for result in results] == [False, False, True]
        assert [result["metrics"]["step"] for result in results] == [1, 2, 3]
        for result in results:
            seconds = result["metrics"]["train_s"] + result["metrics"]["evaluation_s"]
            assert seconds > 0

    def test_a_restored_run_repeats_its_last_report_and_goes_on(self, trainable, run_of):
        expected = finish(RunTrainable(run_of(trainable, "whole")))
        run = run_of(trainable, "interrupted")
        first = RunTrainable(run)
        before = [first.step(), first.step()]
        again = finish(RunTrainable(run))
        assert again[0]["metrics"] == before[-1]["metrics"]
        assert metrics_of([before[0], *again]) == metrics_of(expected)

    def test_a_finished_run_only_repeats_its_last_report(self, trainable, run_of):
        run = run_of(trainable)
        results = finish(RunTrainable(run))
        again = RunTrainable(run).step()
        assert again["finished"]
        assert again["metrics"] == results[-1]["metrics"]
        assert newest(run)["loop"]["num_reports"] == 3

    def test_a_run_that_diverges_is_a_result(self, trainable, run_of):
        classifier = {"architecture": "mlp", "learning_rate": 1e20}
        result = RunTrainable(run_of(trainable, classifier=classifier)).step()
        assert result["failure"] == "diverged"
        assert "after 0." in result["reason"]


def test_the_log_tells_of_attempts_and_reports(run_of, tmp_path):
    run = run_of()
    first = RunTrainable(run)
    first.step()
    first.step()
    finish(RunTrainable(run))
    lines = [line.partition(" ")[2] for line in (tmp_path / "run" / "log.txt").read_text().splitlines()]
    assert [line.split()[0] for line in lines] == ["attempt:", "report", "report", "attempt:", "goes", "report"]
    assert f"process {os.getpid()} on " in lines[0]
    assert lines[4].startswith("goes on after report 2, ")
    assert "step 3" in lines[5]
    assert "robust" in lines[5]


def test_the_log_names_a_saturated_generator(run_of, tmp_path):
    generator = {"width": 4, "output_scale": 1e6}
    RunTrainable(run_of("gan", pretrain=0.0, generator=generator)).step()
    assert "warning: the generator is saturated: 1" in (tmp_path / "run" / "log.txt").read_text()


def test_the_log_has_the_traceback_of_a_failure(run_of, tmp_path):
    result = RunTrainable(run_of(dataset={"name": "digits", "validation": 5000})).step()
    assert f"error: {result['reason']}" in (tmp_path / "run" / "log.txt").read_text()


def test_no_run_fails_for_its_log(run_of, tmp_path):
    (tmp_path / "run" / "log.txt").mkdir(parents=True)
    assert finish(RunTrainable(run_of()))[-1]["finished"]


def test_every_report_is_in_a_checkpoint(run_of):
    run = run_of()
    trainable = RunTrainable(run)
    for step in (1, 2, 3):
        result = trainable.step()
        state = newest(run)
        assert state["metrics"] == result["metrics"]
        assert state["loop"]["num_reports"] == step


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"classifier": {"architecture": "mlp", "learning_rate": -1}}, "greater than"),
        ({"dataset": {"name": "digits", "validation": 5000}}, "below the 1437 training images"),
    ],
)
def test_an_exception_is_a_result_with_its_traceback(run_of, changes, expected):
    result = RunTrainable(run_of(**changes)).step()
    assert result["failure"] == "error"
    assert result["reason"].startswith("Traceback")
    assert expected in result["reason"]


def test_an_exception_in_training_is_a_result(run_of, monkeypatch):
    trainable = RunTrainable(run_of())
    assert "metrics" in trainable.step()
    monkeypatch.setattr(checkpoint, "save", lambda *args, **options: 1 / 0)
    result = trainable.step()
    assert (result["failure"], "ZeroDivisionError" in result["reason"]) == ("error", True)


def test_a_gpu_without_memory_is_named_as_such(run_of, monkeypatch):
    def full(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    trainable = RunTrainable(run_of())
    monkeypatch.setattr(checkpoint, "save", full)
    result = trainable.step()
    assert result["failure"] == "out of memory"
    assert "lower batch_size\nCUDA out of memory" in result["reason"]


def test_a_run_with_a_larger_share_of_a_gpu_says_so(run_of, monkeypatch, tmp_path):
    monkeypatch.setattr(RunTrainable, "_gpu_share", 0.5)
    monkeypatch.setattr(RunTrainable, "_device", "cpu")
    metrics = RunTrainable({**run_of(), "gpu": 0.5, "memory_retries": 1}).step()["metrics"]
    assert (metrics["gpu_share"], metrics["memory_retries"]) == (0.5, 1)
    assert memory_warning(metrics) == "ran out of GPU memory once; it was trained with 0.5 of a GPU"
    assert "0.5 of a GPU (more than before: memory ran out, retry 1)" in (tmp_path / "run" / "log.txt").read_text()
    without = RunTrainable(run_of(folder="other")).step()["metrics"]
    assert without["gpu_share"] == 0.5
    assert memory_warning(without) == ""


def _checkpoints(tmp_path, folder="run"):
    return sorted((tmp_path / folder / "checkpoint").glob("0*"), key=lambda path: (len(path.name), path))


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _rename(path):
    path.rename(path.with_name("00000007"))


DAMAGES = {
    "truncated": lambda path: (path / "tensors.safetensors").write_bytes(b"half"),
    "a flipped bit": lambda path: _flip(path / "tensors.safetensors"),
    "without its state": lambda path: (path / "state.json").unlink(),
    "a state of nothing": lambda path: (path / "state.json").write_text("{}"),
    "with an older step's content": lambda path: shutil.copytree(path.with_name("00000001"), path, dirs_exist_ok=True),
    "renamed": _rename,
    "that of another run": lambda path: shutil.copytree(
        path.parents[2] / "other" / "checkpoint" / path.name, path, dirs_exist_ok=True
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_from_an_older_checkpoint_it_goes_on_with_a_warning(run_of, tmp_path, damage):
    run, other, expected = run_of(), RunTrainable(run_of(folder="other")), finish(RunTrainable(run_of(folder="whole")))
    first = RunTrainable(run)
    for trainable in (first, other):
        trainable.step()
        trainable.step()
    damage(_checkpoints(tmp_path)[-1])
    again = finish(RunTrainable(run))
    assert metrics_of(again) == metrics_of(expected)
    assert "cannot be used and is in 0000000" in again[0]["warning"]
    assert "it goes on from the older one of report 1" in again[0]["warning"]
    assert all("warning" not in result for result in again[1:])
    assert f"warning: {again[0]['warning']}" in (tmp_path / "run" / "log.txt").read_text()
    assert [path.name for path in _checkpoints(tmp_path)][:2] == ["00000002", "00000003"]
    assert len(_checkpoints(tmp_path)) == 3  # the damaged one is there still, under another name


@pytest.mark.parametrize("changes", [{"seed": 8}, {"classifier": {"architecture": "small_cnn"}}])
def test_from_a_checkpoint_with_other_settings_no_run_goes_on(run_of, tmp_path, changes):
    """The journal was lost, and the new search drew other settings for the run of the same number."""
    RunTrainable(run_of()).step()
    again = RunTrainable(run_of(**changes)).step()
    assert again["metrics"]["step"] == 1
    assert "it belongs to a run with other settings; it goes on from the beginning" in again["warning"]
    assert again["metrics"] != RunTrainable(run_of()).step()["metrics"]


def test_a_later_attempt_elsewhere_ends_an_earlier_one(run_of, tmp_path):
    """Its worker was taken for dead, as when a network is cut, and goes on."""
    run = run_of()
    cut_off, retry = RunTrainable(run), RunTrainable(run)
    results = [cut_off.step()]
    assert retry.step()["metrics"] == results[0]["metrics"]
    with pytest.raises(FencedError):
        cut_off.step()
    results += finish(retry)
    assert metrics_of(results) == metrics_of(finish(RunTrainable(run_of(folder="whole"))))
    said = [line.split()[1] for line in (tmp_path / "run" / "log.txt").read_text().splitlines()]
    assert said == ["attempt:", "report", "attempt:", "goes", "report", "report"]


def test_a_machine_that_does_not_share_the_folder_trains_nothing_there(run_of, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_storage, "_VISIBLE_WITHIN_S", 0.0)
    result = RunTrainable(run_of(context=WorkerContext(probe_place=str(tmp_path), probe=".mark-elsewhere"))).step()
    assert result["failure"] == "storage"
    assert f"{tmp_path} is not the folder that the driver writes into" in result["reason"]
    assert list(tmp_path.iterdir()) == []


def test_one_worker_trains_one_run_after_another(run_of, tmp_path):
    trainable = RunTrainable(run_of(folder="first"))
    first = finish(trainable)
    assert trainable.reset_config(run_of("fgsm_retraining", "second"))
    second = finish(trainable)
    assert [result["metrics"]["step"] for result in second] == [1, 2, 3]
    assert trainable.reset_config(run_of(folder="third"))
    assert metrics_of(finish(trainable)) == metrics_of(first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second", "third"]


def test_taking_over_a_run_touches_nothing(run_of, tmp_path):
    trainable = RunTrainable(run_of(folder="first"))
    trainable.reset_config(run_of(folder="second", dataset={"name": "no such dataset"}))
    assert list(tmp_path.iterdir()) == []
    assert trainable.step()["failure"] == "error"


def test_a_run_whose_folder_went_away_starts_anew(run_of, tmp_path):
    run = run_of()
    first = RunTrainable(run).step()
    shutil.rmtree(tmp_path / "run")
    assert metrics_of([RunTrainable(run).step()]) == metrics_of([first])
