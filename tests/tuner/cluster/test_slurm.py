"""The job script for SLURM: what it asks for, what is refused, and that shellcheck finds nothing in it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tuner.cluster.slurm import SlurmJob, job_script
from tuner.errors import UserError


def script(tmp_path, **changes) -> str:
    options = {"space": "digits", "name": "first", "home": tmp_path / "a b", "nodes": 2, "cpus": 4, "gpus": 8}
    return job_script(SlurmJob(**{**options, "time": "2-00:00:00", "lead": 300, **changes}))


def test_it_asks_for_what_was_asked(tmp_path):
    text = script(tmp_path, further=["--partition=long", "--exclusive"])
    for line in ("--nodes=2", "--cpus-per-task=4", "--gpus-per-node=8", "--time=2-00:00:00", "--signal=B:USR1@300"):
        assert f"\n#SBATCH {line}\n" in text
    assert "\n#SBATCH --partition=long\n#SBATCH --exclusive\n" in text
    assert "gpus-per-node" not in script(tmp_path, gpus=0)
    assert f"TUNER_HOME='{tmp_path}/a b'" in text
    (tmp_path / "my space.yaml").touch()
    assert f"tuner launch '{tmp_path}/my space.yaml'" in script(tmp_path, space=str(tmp_path / "my space.yaml"))


@pytest.mark.parametrize("time", ["", "soon", "12h", "1:2", "0; rm -rf /", "12:00:00\nrm"])
def test_a_time_that_is_none_is_refused(tmp_path, time):
    with pytest.raises(UserError, match="--time must be like 30"):
        script(tmp_path, time=time)


@pytest.mark.parametrize("option", ["partition=long", "-p", "--wrap=a b", "--comment=a\nrm", "--"])
def test_what_is_no_option_is_refused(tmp_path, option):
    with pytest.raises(UserError, match="is no option for sbatch"):
        script(tmp_path, further=[option])


def test_the_command_writes_it_and_refuses_a_wrong_space_or_home(tmp_path, run):
    code, out = run("cluster", "slurm", "digits", "--nodes", "3", "--partition=long", "-o", "job.sbatch")
    assert code == 0, out
    assert "#SBATCH --partition=long" in (tmp_path / "job.sbatch").read_text()
    for words, message in {
        ("nothing",): "neither a file nor a packaged search space",
        ("digits", "--home", "s3://bucket/x"): "URL",
        ("digits", "--name", "No"): "name",
    }.items():
        code, out = run("cluster", "slurm", *words)
        assert code == 2
        assert message in out


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs Debian's shellcheck")
def test_shellcheck_finds_nothing(tmp_path):
    done = subprocess.run(["shellcheck", "-"], input=script(tmp_path), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
