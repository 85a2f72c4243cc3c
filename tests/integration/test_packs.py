"""Runs in packs on Ray: they are the runs that they are alone, and a pack that is killed loses nothing."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import torch

from tests.support.loops import without_seconds
from tests.support.trivial import LargeRun, TrivialRun
from trainables.storage import checkpoint
from trainables.worker.context import RunTask
from trainables.worker.pack_server import PackedRun
from trainables.worker.trainable import RunTrainable
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.ray_tune.runner import execute
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]

SPACE = """\
name: packs
trainable: standard
dataset: {name: digits, validation: 200}
evaluation: {watch_images: 50, rank_images: 100}
budget: {trials: 6, compute: 3}
search: {sampler: random}
parameters:
  classifier: {architecture: {choice: [mlp, small_cnn]}, learning_rate: {float: [1.0e-3, 2.0e-3]}}
"""


def attempts(folder: Path) -> list[int]:
    """Return the processes in which a run was begun, in order."""
    return [int(pid) for pid in re.findall(r"attempt: process (\d+) ", (folder / "log.txt").read_text())]


class Killer:
    """Kills the pack of a run at its first report, for some numbers of runs that have reported by then."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self._reported: set[str] = set()
        self.killed: list[int] = []

    def changed(self, record) -> None:
        if record.state == "running" and record.metrics and record.run.key not in self._reported:
            self._reported.add(record.run.key)
            if len(self._reported) in self._numbers:
                self.killed.append(attempts(record.run.folder)[-1])
                os.kill(self.killed[-1], signal.SIGKILL)


def run(home: Path, text: str, pack: int, work: type[PackedRun] = PackedRun, *, killer: Killer) -> tuple[list, list]:
    """Return the records of a sweep, and what was said, after packs were killed."""
    sweep, said = SweepFolder.create("packs", text, "packs.yaml", home=home), []
    one = RunResources(cpu=1.5, pack=pack)  # of which this Ray has processors for one
    execute(Ledger(sweep), one, [killer], trainable=work, tell=said.append)
    return read_records(sweep), said


def check_nothing_is_lost_or_there_twice(records: list, num: int, reports: int) -> None:
    assert [record.run.key for record in records] == [f"trial-{number:04}" for number in range(num)]
    assert {record.state for record in records} == {"complete"}
    for record in records:
        assert [row["step"] for row in read_metrics(record.run)] == list(range(1, reports + 1))


def test_runs_of_packs_of_which_one_is_killed_are_those_that_each_is_alone(tmp_path):
    killer = Killer(2)
    records, said = run(tmp_path, SPACE, 3, killer=killer)
    check_nothing_is_lost_or_there_twice(records, 6, 3)
    lost = [record for record in records if killer.killed[0] in attempts(record.run.folder)]
    assert any(len(attempts(record.run.folder)) == 2 for record in lost)
    assert any("has lost its pack, and goes on from its last report" in line for line in said)
    torch.set_num_threads(1)
    for record in records:
        alone = RunTrainable(RunTask(record.run.key, str(tmp_path / record.run.key), record.run.settings).to_config())
        results = [alone.step() for _ in range(3)]
        rows = [{name: value for name, value in row.items() if name != "time"} for row in read_metrics(record.run)]
        assert without_seconds(rows) == without_seconds(result["metrics"] for result in results)
        ours, theirs = (
            checkpoint.load_newest(folder / "checkpoint") for folder in (record.run.folder, tmp_path / record.run.key)
        )
        for name, weights in theirs["loop"]["classifier"].items():
            assert torch.equal(ours["loop"]["classifier"][name], weights)


def test_sixteen_runs_in_a_pack_of_four_lose_nothing_to_two_kills(tmp_path):
    killer = Killer(3, 10)
    text = SPACE.replace("trials: 6", "trials: 16")
    records, _ = run(tmp_path, text, 4, TrivialRun, killer=killer)
    check_nothing_is_lost_or_there_twice(records, 16, 3)
    assert len(set(killer.killed)) == 2
    assert max(len(attempts(record.run.folder)) for record in records) > 1


def test_a_run_that_needs_more_memory_than_others_leave_costs_one_seat_and_is_trained_without_them(tmp_path):
    records, said = run(tmp_path, SPACE, 3, LargeRun, killer=Killer())
    check_nothing_is_lost_or_there_twice(records, 6, 3)
    short = [line for line in said if line.startswith(f"{LargeRun.LARGE} had too little memory in its pack")]
    assert [line.rpartition("; ")[2] for line in short] == [
        "it goes on from its last report",
        "it goes on from its last report, without others",
    ], said
    assert len(attempts(records[1].run.folder)) >= 3  # one more if it was above the limit when a seat was lost
