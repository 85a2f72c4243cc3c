"""A job script for SLURM that starts a Ray cluster on its nodes, drives a sweep, and goes on after the time limit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import UserError

_TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}")
_OPTION = re.compile(r"--[a-z][a-z-]*(=\S+)?")
_TEMPLATE = r"""#!/bin/bash
#SBATCH --job-name=tuner-@NAME@
#SBATCH --nodes=@NODES@
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=@CPUS@
@FURTHER@#SBATCH --time=@TIME@
#SBATCH --signal=B:USR1@@LEAD@
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=tuner-@NAME@-%j.out
# Submit with `sbatch`. @LEAD@ s before the time limit the sweep is stopped, so that every run can go on from its last
# report, and the job is put into the queue again, where it resumes the sweep until that is complete.
set -euo pipefail
umask 077

name=@NAME@
export TUNER_HOME=@HOME@
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$TUNER_HOME/.token-$SLURM_JOB_ID" # the head makes it; all nodes read it
mkdir -p "$TUNER_HOME"
port=$((20000 + SLURM_JOB_ID % 10000)) # of this job alone

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${hosts[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$first" hostname --ip-address | awk '{print $1}')
nodes=()
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"; ((${#nodes[@]} == 0)) || kill "${nodes[@]}" 2>/dev/null || true' EXIT

srun --overlap --nodes=1 --ntasks=1 --nodelist="$first" tuner cluster head --host "$address" --port "$port" \
    --dashboard-port $((port + 10000)) --cpus "$SLURM_CPUS_PER_TASK" --gpus @GPUS@ &
nodes+=($!)
for _ in $(seq 120); do # seconds
    (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null && break
    kill -0 "${nodes[0]}"
    sleep 1
done
if ((SLURM_JOB_NUM_NODES > 1)); then
    srun --overlap --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$first" \
        tuner cluster join "$address:$port" --cpus "$SLURM_CPUS_PER_TASK" --gpus @GPUS@ &
    nodes+=($!)
fi

export RAY_ADDRESS="$address:$port"
if [ -e "$TUNER_HOME/$name/sweep.json" ]; then
    tuner resume "$name" &
else
    tuner launch @SPACE@ --name "$name" &
fi
driver=$!
near_end=
trap 'near_end=1; tuner stop "$name" || true' USR1
while true; do
    code=0
    wait "$driver" || code=$? # a signal interrupts it, too
    kill -0 "$driver" 2>/dev/null || break
done
if [ -n "$near_end" ] && [ "$code" -ne 0 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


@dataclass(frozen=True)
class SlurmJob:
    """What a job script asks SLURM for.

    Attributes:
        space: that is searched: a packaged one's name, or a file.
        name: of the sweep.
        home: folder of all sweeps, which every node reaches by this path.
        nodes: how many, at least 1.
        cpus: processors of each node.
        gpus: of each node.
        time: the limit, as SLURM writes it: ``30``, ``12:00:00``, ``2-00:00:00``.
        lead: seconds before the limit at which the sweep is stopped.
        further: options of sbatch, like ``--partition=long``.
    """

    space: str
    name: str
    home: Path
    nodes: int
    cpus: int
    gpus: int
    time: str
    lead: int
    further: Sequence[str] = ()


def job_script(job: SlurmJob) -> str:
    """Return the job script, which sbatch takes.

    Raises:
        UserError: the time is not as SLURM writes it, or a further option is none of sbatch's form.
    """
    if _TIME.fullmatch(job.time) is None:
        raise UserError(f"--time must be like 30 (minutes), 12:00:00 or 2-00:00:00, not {job.time!r}")
    for option in job.further:
        if _OPTION.fullmatch(option) is None:
            raise UserError(f"{option!r} is no option for sbatch: write --NAME=VALUE, like --partition=long")
    space = str(Path(job.space).absolute()) if Path(job.space).is_file() else job.space
    gpus = [f"--gpus-per-node={job.gpus}"] if job.gpus else []
    values = {
        "NAME": job.name,
        "SPACE": shlex.quote(space),
        "HOME": shlex.quote(str(job.home.absolute())),
        "NODES": job.nodes,
        "CPUS": job.cpus,
        "GPUS": job.gpus,
        "TIME": job.time,
        "LEAD": job.lead,
        "FURTHER": "".join(f"#SBATCH {option}\n" for option in (*gpus, *job.further)),
    }
    return re.sub(r"@([A-Z]+)@", lambda match: str(values[match[1]]), _TEMPLATE)
