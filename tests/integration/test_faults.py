"""Runs that hang, failures one after another, disks that cannot be written and machines that are too small, on Ray."""

from __future__ import annotations

import errno
import io
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tests.integration.test_execution import SPACE, run, states
from tests.tuner.conftest import REAL, train_really
from trainables.worker.context import RunTask
from trainables.worker.trainable import RunTrainable
from tuner.errors import SweepError, UserError
from tuner.execution.failures import FAILURES_IN_A_ROW
from tuner.execution.ray_tune.capacity import num_slots
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.ray_tune.runner import execute
from tuner.execution.upkeep.repair import repair_runs
from tuner.results.bundles.export import export_run
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics
from tuner.sweep.snapshot import read_snapshot

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]


class Quick(RunTrainable):
    """Three reports that cost nothing; how many there were is kept in the run's folder, as a checkpoint would."""

    def step(self):
        if self._run.key == "trial-0001" and self.num_reports:
            self.fault()
        self.marker("reports").parent.mkdir(parents=True, exist_ok=True)
        self.marker("reports").write_text("x" * (self.num_reports + 1))
        step = self.num_reports
        metrics = dict.fromkeys(("watch/clean", "watch/fgsm", "watch/robust", "clean", "fgsm", "robust"), 0.5)
        return {"metrics": {**metrics, "step": step, "compute": float(step)}, "finished": step == 3}

    @property
    def num_reports(self):
        return len(self.marker("reports").read_text()) if self.marker("reports").exists() else 0

    def marker(self, name):
        return Path(self._run.folder) / name

    def fault(self):
        raise NotImplementedError


class HangingOnce(Quick):
    """Trial 1 sleeps before its second report, the first time."""

    def fault(self):
        if not self.marker("hung").exists():
            self.marker("hung").write_text("")
            time.sleep(3600)


class Stopped(Quick):
    """The process of trial 1 is stopped, as by a debugger, whenever it comes to its second report."""

    def fault(self):
        with self.marker("attempts").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGSTOP)


class FullDisk(RunTrainable):
    """Trial 1 finds its disk full after its first report, as long as a file says so."""

    def _train(self, loop):
        if self._run.key == "trial-0001" and loop.num_reports and (Path(self._run.folder).parents[2] / "full").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super()._train(loop)


class Raising(RunTrainable):
    """Every trial raises: one that completed among them would begin the count anew, whenever that is."""

    def _start(self):
        raise RuntimeError("no module named attack_of_tomorrow")


def reason(sweep: SweepFolder, key: str) -> str:
    return next(record.reason for record in read_records(sweep) if record.run.key == key)


def steps(sweep: SweepFolder, key: str) -> list[float]:
    run = next(record.run for record in read_records(sweep) if record.run.key == key)
    return [row["step"] for row in read_metrics(run)]


def test_a_run_that_hangs_is_tried_once_more_from_its_checkpoint(tmp_path):
    sweep = SweepFolder.create("faults", SPACE, "faults.yaml", home=tmp_path)
    execute(Ledger(sweep), RunResources(), trainable=HangingOnce, timeout_s=5)
    assert set(states(sweep).values()) == {"complete"}
    assert steps(sweep, "trial-0001") == [1, 2, 3]


def test_a_run_that_hangs_again_fails_alone(tmp_path):
    sweep = SweepFolder.create("faults", SPACE, "faults.yaml", home=tmp_path)
    execute(Ledger(sweep), RunResources(), trainable=Stopped, timeout_s=5)
    assert states(sweep) == {"trial-0000": "complete", "trial-0001": "failed", "trial-0002": "complete"}
    assert reason(sweep, "trial-0001") == "timeout: no report within 5 s, twice"
    assert (sweep.folder / "trials" / "0001" / "attempts").read_text() == "xx"


def test_five_failures_in_a_row_end_the_sweep_and_a_new_driver_counts_anew(tmp_path):
    sweep = SweepFolder.create("faults", SPACE.replace("trials: 3", "trials: 20"), "faults.yaml", home=tmp_path)
    with pytest.raises(SweepError, match=r"5 runs in a row have failed, .* by: RuntimeError: no module named"):
        execute(Ledger(sweep), RunResources(), trainable=Raising)
    ended = [record for record in read_records(sweep) if record.state != "running"]
    assert FAILURES_IN_A_ROW <= sum(record.state == "failed" for record in ended) <= FAILURES_IN_A_ROW + 2
    execute(Ledger(sweep), RunResources())
    records = read_records(sweep)
    assert len(records) == 20
    assert {record.state for record in records if record not in ended} == {"complete"}


def test_a_disk_that_is_full_for_a_worker_fails_no_run(tmp_path):
    sweep = SweepFolder.create("faults", SPACE, "faults.yaml", home=tmp_path)
    full = tmp_path / "full"
    full.write_text("")
    with pytest.raises(SweepError, match=r"cannot be written: .*No space left"):
        execute(Ledger(sweep), RunResources(), trainable=FullDisk)
    assert "failed" not in states(sweep).values()
    full.unlink()
    execute(Ledger(sweep), RunResources(), trainable=FullDisk)
    assert set(states(sweep).values()) == {"complete"}
    assert [steps(sweep, f"trial-{number:04d}") for number in range(3)] == [[1, 2, 3]] * 3


def test_more_than_any_machine_of_the_cluster_has_is_refused_with_both_numbers():
    for wanted, expected in (({"cpu": 99}, "asks for 99 CPU, .* at most 2 "), ({"gpu": 1}, "asks for 1 GPU, .* 0 ")):
        with pytest.raises(UserError, match=expected):
            num_slots(RunResources(**wanted))
    assert num_slots(RunResources(cpu=1)) == 2


def test_a_run_that_raises_has_its_traceback_in_the_ledger(tmp_path):
    sweep = run(tmp_path, Raising, SPACE.replace("trials: 3", "trials: 2"))
    assert reason(sweep, "trial-0001").startswith("error: Traceback")


@pytest.fixture
def _one_thread():
    """Train in this process as a worker does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
def test_damaged_runs_are_trained_again_on_request(tmp_path):
    sweep = SweepFolder.create("real", REAL, "real.yaml", home=tmp_path)
    train_really(Ledger(sweep))
    before = export_run(read_snapshot(sweep), tmp_path / "before", "trial-0001")
    (sweep.folder / "trials/0001/checkpoint/00000002/tensors.safetensors").write_bytes(b"half")
    (sweep.folder / "baselines/standard/metrics.jsonl").write_bytes(b"")
    console = Console(file=io.StringIO(), width=200)
    with sweep.lock():
        repair_runs(sweep, console)
    said = console.file.getvalue()
    for key in ("trial-0001", "baseline-standard"):
        assert f"{key} is trained again" in said
        assert f"{key} is as it was" in said
    after = export_run(read_snapshot(sweep), tmp_path / "after", "trial-0001")
    for name in ("classifier.safetensors", "metrics.json"):
        assert (after / name).read_bytes() == (before / name).read_bytes()
    with sweep.lock():
        repair_runs(sweep, console)
    assert console.file.getvalue().count("is trained again") == 2


def test_an_unfinished_run_whose_checkpoint_is_damaged_is_said_on_the_terminal(tmp_path):
    sweep = SweepFolder.create("real", REAL, "real.yaml", home=tmp_path, num_trials=1)
    ledger = Ledger(sweep)
    run = ledger.next_run()
    worker = RunTrainable(RunTask(run.key, str(run.folder), run.settings, sweep=sweep.id).to_config())
    ledger.report(run.key, worker.step()["metrics"])
    (run.folder / "checkpoint/00000001/state.json").write_text("{}")
    said = []
    execute(Ledger(sweep), RunResources(), tell=said.append)
    assert set(states(sweep).values()) == {"complete"}
    (line,) = said
    assert line.startswith(f"{run.key}: the checkpoint {run.folder}/checkpoint/00000001 cannot be used")
    assert line.endswith("it goes on from the beginning")
    assert steps(sweep, run.key) == [1]
