"""The job script for SLURM with stand-ins for its commands: two nodes here, the signal, the queue, the resumption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.integration.conftest import OF_FAIR_WORKERS
from tests.support.servers import free_port
from tuner import Sweep
from tuner.cluster.slurm import SlurmJob, job_script

pytestmark = [pytest.mark.ray, pytest.mark.cluster]
SPACE = """\
name: slurmed
trainable: standard
dataset: {name: digits, validation: 200}
evaluation: {epsilon: 0.1, watch_images: 20, rank_images: 30}
budget: {trials: 4, compute: 30}
search: {sampler: random}
parameters: {report_every: 0.5, classifier: {architecture: mlp, learning_rate: {float: [1.0e-3, 1.0e-2]}}}
"""
SRUN = """\
#!/bin/bash
echo "$*" >> {folder}/srun.log
while [[ $1 == --* ]]; do shift; done
if [ "$1" = hostname ]; then echo 127.0.0.1; exit; fi
exec "$@" --temp-dir "$(mktemp -d {short}/XXX)" --object-store-memory 100000000
"""
SCONTROL = """\
#!/bin/bash
if [ "$1" = show ]; then echo node1; echo node2; else echo "$*" >> {folder}/requeued; fi
"""


@pytest.fixture
def slurm(tmp_path):
    """Return the environment of a job, with stand-ins for SLURM's commands, in which a script can be run."""
    commands = tmp_path / "commands"
    commands.mkdir()
    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # paths of sockets may have 107 characters
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (commands / name).write_text(text.format(folder=tmp_path, short=short))
            (commands / name).chmod(0o755)
        yield {
            **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
            **dict([OF_FAIR_WORKERS]),
            "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SLURM_JOB_ID": str(free_port() % 10000),
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "1",
        }


def test_a_job_is_stopped_by_the_signal_requeued_and_resumed(slurm, tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    job = SlurmJob(str(tmp_path / "space.yaml"), "slurmed", tmp_path / "home", 2, 1, 0, "10", 60)
    (tmp_path / "job.sbatch").write_text(job_script(job))

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "job.log").open("ab") as log:
            command = ["bash", str(tmp_path / "job.sbatch")]
            return subprocess.Popen(command, cwd=tmp_path, env=slurm, stdout=log, stderr=log, start_new_session=True)

    def output() -> str:
        return (tmp_path / "job.log").read_text()[-4000:]

    first = start()
    deadline = time.monotonic() + 300
    while not any((tmp_path / "home" / "slurmed").glob("trials/*/metrics.jsonl")):
        assert first.poll() is None, output()
        assert time.monotonic() < deadline, output()
        time.sleep(0.2)
    first.send_signal(signal.SIGUSR1)  # as SLURM does before the time limit
    assert first.wait(200) == 3, output()
    assert (tmp_path / "requeued").read_text() == f"requeue {slurm['SLURM_JOB_ID']}\n"
    sweep = Sweep.open("slurmed", home=tmp_path / "home")
    assert sweep.status().state == "interrupted"
    before = len(sweep.curves())

    second = start()  # as SLURM does when the job comes out of the queue
    assert second.wait(1200) == 0, output()
    assert sweep.status().state == "completed"
    curves = sweep.curves()
    assert len(curves) > before > 0
    assert not curves.duplicated(["run", "step"]).any()
    joined = [line for line in (tmp_path / "srun.log").read_text().splitlines() if "cluster join" in line]
    assert len(joined) == 2
    assert json.loads((tmp_path / "home" / "slurmed" / "sweep.json").read_text())["num_trials"] == 4
