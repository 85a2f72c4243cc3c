"""Runs that have ended and whose files are damaged: refused, then trained again and found to be what they were."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from trainables.worker.context import RunTask
from trainables.worker.trainable import RunTrainable
from tuner.errors import DamagedRunError
from tuner.results.bundles.export import export_run
from tuner.search.repair import RepairQueue
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics
from tuner.sweep.snapshot import read_snapshot

KEY = "trial-0001"


def repair(sweep: SweepFolder) -> RepairQueue:
    """Repair a sweep with the worker's own code, in this process."""
    queue = RepairQueue(sweep, lambda text: None)
    while (run := queue.next_run()) is not None:
        worker = RunTrainable(RunTask(run.key, str(run.folder), run.settings, sweep=run.sweep_id).to_config())
        goes_on = True
        while goes_on:
            result = worker.step()
            if result["finished"]:
                queue.complete(run.key, result["metrics"])
            goes_on = not result["finished"] and queue.report(run.key, result["metrics"])
        worker.cleanup()
    return queue


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def with_content_of(folder: Path, other: Path) -> None:
    shutil.copytree(other, folder, dirs_exist_ok=True)


# Of the run's folder: its newest checkpoint is that of report 2.
DAMAGES = {
    "truncated": lambda run: (run / "checkpoint/00000002/tensors.safetensors").write_bytes(b"half"),
    "a flipped bit of the tensors": lambda run: flip(run / "checkpoint/00000002/tensors.safetensors"),
    "a flipped bit of the state": lambda run: flip(run / "checkpoint/00000002/state.json"),
    "without tensors": lambda run: (run / "checkpoint/00000002/tensors.safetensors").unlink(),
    "without its state": lambda run: (run / "checkpoint/00000002/state.json").unlink(),
    "missing": lambda run: shutil.rmtree(run / "checkpoint/00000002"),
    "all missing": lambda run: shutil.rmtree(run / "checkpoint"),
    "that of another run": lambda run: with_content_of(
        run / "checkpoint/00000002", run.with_name("0000") / "checkpoint/00000002"
    ),
    "all those of another run": lambda run: with_content_of(run / "checkpoint", run.with_name("0000") / "checkpoint"),
    "with the older step's content": lambda run: with_content_of(
        run / "checkpoint/00000002", run / "checkpoint/00000001"
    ),
    "renamed": lambda run: (run / "checkpoint/00000002").rename(run / "checkpoint/00000007"),
}
METRICS_DAMAGES = {
    "a flipped bit": lambda run: flip(run / "metrics.jsonl"),
    "empty": lambda run: (run / "metrics.jsonl").write_bytes(b""),
    "missing": lambda run: (run / "metrics.jsonl").unlink(),
    "a report is missing": lambda run: (run / "metrics.jsonl").write_bytes(
        b"".join((run / "metrics.jsonl").read_bytes().splitlines(keepends=True)[:-1])
    ),
    "that of another run": lambda run: shutil.copy(run.with_name("0000") / "metrics.jsonl", run),
}


def weights(sweep: SweepFolder, target: Path) -> bytes:
    return (export_run(read_snapshot(sweep), target, KEY) / "classifier.safetensors").read_bytes()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_last_checkpoint_is_refused_and_trained_again(trained_sweep, run, tmp_path, damage):
    expected = weights(trained_sweep, tmp_path / "before")
    damage(trained_sweep.folder / "trials" / "0001")
    code, said = run("export", "real", "--home", str(tmp_path), "--run", KEY, "--output", "after")
    assert code == 2
    assert "0001/checkpoint/00000002, cannot be used" in said
    assert f"`tuner resume real --repair` trains {KEY} again" in said
    assert not (tmp_path / "after").exists()
    queue = repair(trained_sweep)
    assert (list(queue.records), queue.failures, queue.num_left) == ([KEY], [], 0)
    assert weights(trained_sweep, tmp_path / "after") == expected
    assert repair(trained_sweep).num_runs == 0


@pytest.mark.parametrize("damage", METRICS_DAMAGES.values(), ids=METRICS_DAMAGES)
def test_damaged_metrics_are_refused_and_the_run_is_trained_again(trained_sweep, run, tmp_path, damage):
    before = read_records(trained_sweep)
    folder = trained_sweep.folder / "trials" / "0001"
    damage(folder)
    code, said = run("status", "real", "--home", str(tmp_path))
    assert code == 2
    for text in (said, read_snapshot(trained_sweep).damaged[KEY]):
        assert f"{folder / 'metrics.jsonl'} cannot be used: " in text
        assert f"`tuner resume real --repair` trains {KEY} again" in text
    with pytest.raises(DamagedRunError, match="cannot be used: "):
        read_records(trained_sweep)
    assert repair(trained_sweep).failures == []
    after = read_records(trained_sweep)
    assert [record.value for record in after] == [record.value for record in before]
    assert [row["step"] for row in read_metrics(after[-1].run)] == [1, 2]
    assert (trained_sweep.folder / "trials" / "0001.aside-1" / "checkpoint").is_dir()


def test_a_run_that_does_not_become_what_it_was_is_not_used(trained_sweep, monkeypatch):
    folder = trained_sweep.folder / "trials" / "0001" / "checkpoint" / "00000002"
    shutil.rmtree(folder)
    step = RunTrainable.step

    def another_machine(worker):
        result = step(worker)
        return {**result, "metrics": {**result["metrics"], "clean": 0.123}}

    monkeypatch.setattr(RunTrainable, "step", another_machine)
    queue = repair(trained_sweep)
    (said,) = queue.failures
    assert said.startswith(f"{KEY} was trained again, and is not what it was: clean is 0.123, and was")
    assert not folder.exists()
    assert folder.with_name("00000002.aside-1").is_dir()


def test_the_study_and_the_metrics_have_to_agree(trained_sweep):
    """A journal of an earlier release has no checksums: here, one digit of a value is changed."""
    journal = trained_sweep.folder / "study.journal"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    for entry in entries:
        entry.pop("crc", None)
    last = next(entry for entry in reversed(entries) if entry.get("values"))
    last["values"] = [last["values"][0] + 2**-10]
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    said = read_snapshot(trained_sweep).damaged[KEY]
    assert re.search(r"by it robust is [\d.]+ in the end, and [\d.]+ in the study", said)
