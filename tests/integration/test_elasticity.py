"""Clusters whose machines come and go, and that several sweeps share."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import Command, CommandLine
from tests.support.raylets import Raylets, raylets
from tuner.execution.failures import INFRASTRUCTURE_RETRIES
from tuner.execution.ray_tune.capacity import Capacity
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record, read_metrics

SPACE = """\
name: elastic
trainable: standard
dataset: {name: digits, validation: 200}
evaluation: {watch_images: 50, rank_images: 100}
budget: {trials: TRIALS, compute: COMPUTE}
search: {sampler: random, pruner: none}
resources: {cpu: 1, gpu: SHARE}
parameters:
  classifier: {architecture: mlp, learning_rate: {float: [1.0e-4, 2.0e-4]}}
"""


@pytest.fixture
def cluster(request) -> Iterator[Raylets]:
    with raylets(request.param) as started:
        yield started


def launch(
    line: CommandLine,
    cluster: Raylets,
    name: str,
    trials: int,
    compute: int,
    *options: str,
    gpu: float | str = 0,
    module: str = "",
) -> Command:
    line.module = module or ("tuner" if gpu else "tests.support.idle")
    line.environment |= {"RAY_ADDRESS": cluster.address(), "PYTHONPATH": str(Path(__file__).parents[2])}
    space = line.folder / f"{name}.yaml"
    numbers = {"TRIALS": trials, "COMPUTE": compute, "SHARE": gpu}
    space.write_text(re.sub("|".join(numbers), lambda match: str(numbers[match[0]]), SPACE))
    return line.start("launch", str(space), "--name", name, *options)


def wait_for(condition: Callable[[], bool], *commands: Command) -> None:
    deadline = time.monotonic() + 400
    while not condition():
        for command in commands:
            assert command.process.poll() is None, command.output
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.1)


def length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def check_whole(line: CommandLine, name: str, trials: int) -> list[Record]:
    """Check that every run has ended, and return them all."""
    records = read_records(SweepFolder.open(name, home=line.home))
    assert [record.state for record in records] == ["complete"] * trials
    check_rows(records)
    return records


def check_rows(records: list[Record]) -> None:
    """Check that every run has each of its reports once."""
    for record in records:
        steps = [row["step"] for row in read_metrics(record.run)]
        assert steps == list(range(1, len(steps) + 1))


@pytest.mark.cluster
@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_machines_may_die_more_often_than_workers(command_line, cluster):
    node = cluster.add(1)
    command = launch(command_line, cluster, "spot", 1, 320)
    run = command_line.home / "spot" / "trials" / "0000"
    kills = (signal.SIGKILL, *[signal.SIGTERM] * 4)
    for num_attempts, number in enumerate(kills, 1):
        wait_for(lambda num=num_attempts: length(run / "attempts") == num, command)
        before = length(run / "metrics.jsonl")
        wait_for(lambda before=before: length(run / "metrics.jsonl") > before, command)
        another = cluster.add(1)
        cluster.end(node, number)
        node = another
    wait_for(lambda: length(run / "attempts") == len(kills) + 1, command)
    cluster.add(1)
    cluster.drain(node)
    wait_for(lambda: length(run / "attempts") == len(kills) + 2, command)
    assert "trial-0000 has lost its machine, and goes on" in command.finish(0)
    assert "state-dump" not in command.output
    check_whole(command_line, "spot", 1)
    assert length(run / "attempts") == len(kills) + 2 > INFRASTRUCTURE_RETRIES + 1


@pytest.mark.cluster
@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_sweeps_grow_with_their_cluster_share_it_fairly_and_take_what_others_leave(command_line, cluster):
    first = launch(command_line, cluster, "first", 100, 20)
    wait_for(lambda: cluster.workers().total() == 2, first)
    cluster.add(2)
    wait_for(lambda: cluster.workers().total() == 4, first)
    second = launch(command_line, cluster, "second", 3, 12)
    wait_for(lambda: sorted(cluster.workers().values()) == [2, 2], first, second)
    second.finish(0)
    wait_for(lambda: cluster.workers().total() == 4, first)
    third = launch(command_line, cluster, "third", 3, 4, "--max-concurrent", "1")
    seen: Counter[str] = Counter()
    while third.process.poll() is None:
        seen |= cluster.workers()
        time.sleep(0.1)
    third.finish(0)
    assert sorted(seen.values()) == [1, 4]
    check_whole(command_line, "second", 3)
    check_whole(command_line, "third", 3)
    command_line.run("stop", "first")
    first.finish(3)
    check_rows(read_records(SweepFolder.open("first", home=command_line.home)))


@pytest.mark.cluster
@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU here")
@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_a_run_that_was_assigned_a_gpu_takes_nothing_else(command_line, cluster):
    cluster.add(1, num_gpus=1)
    command = launch(command_line, cluster, "gpu", 2, 1, "--max-concurrent", "1", gpu=0.5)
    assert "every run has failed" in command.finish(1)
    for record in read_records(SweepFolder.open("gpu", home=command_line.home)):
        assert "cuda:0 was assigned to the run, but torch sees no GPU" in record.reason
        assert ", cuda:0, " in (record.run.folder / "log.txt").read_text()

    left_out = re.compile(r"1 GPU of \S+ \(\S+\) is left out: torch sees no GPU there")
    output = launch(command_line, cluster, "auto", 2, 1, "--max-concurrent", "1", gpu="auto").finish(0)
    assert left_out.search(" ".join(output.split())), output
    check_whole(command_line, "auto", 2)
    output = command_line.run("launch", "auto.yaml", "--dry-run", "--name", "b")
    assert left_out.search(" ".join(output.split())), output
    output = launch(command_line, cluster, "must", 2, 1, "--device", "cuda", gpu="auto").finish(2)
    assert "--device cuda: no GPU of the cluster can be used" in output
    assert "is a GPU of this machine, and RAY_ADDRESS names a cluster" in command_line.run(
        "launch", "auto.yaml", "--device", "cuda:0", "--name", "c", code=2
    )


@pytest.mark.cluster
@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_runs_share_a_gpu_and_those_without_memory_get_more_of_it(command_line, cluster):
    cluster.add(4, num_gpus=1)
    output = launch(command_line, cluster, "scarce", 3, 1, gpu="auto, pack: 1", module="tests.support.scarce").finish(0)
    assert "GPUs: 1, 3 runs at once on each (0.3333 of a GPU per run): its memory holds no more" in output
    records = read_records(SweepFolder.open("scarce", home=command_line.home))
    assert [record.state for record in records] == ["complete", "complete", "failed"]
    shares = [read_metrics(record.run)[-1]["gpu_share"] for record in records[:2]]
    assert shares == [0.6666, 1.0]
    assert "lower batch_size" in records[2].reason
    for number, expected in enumerate((["0.6666"], ["0.6666", "1"], ["0.6666", "1"])):
        told = re.findall(rf"trial-000{number} had too little memory .* report with ([0-9.]+)", output)
        assert told == expected, output
    log = (records[1].run.folder / "log.txt").read_text()
    assert "1 of a GPU (more than before: memory ran out, retry 2)" in log
    command_line.module = "tuner"
    status = command_line.run("status", "scarce")
    assert "trial-0001: ran out of GPU memory 2 times; it was trained with 1 of a GPU" in status


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_drivers_find_each_other_and_what_a_dead_one_had_is_free_after_a_while(monkeypatch):
    monkeypatch.setattr("tuner.execution.ray_tune.capacity._LOOK_EVERY_S", 0.1)
    monkeypatch.setattr("tuner.execution.ray_tune.capacity._CLAIM_LASTS_S", 1.0)
    one = RunResources()
    with Capacity("a", one, None, lambda: 9) as a:
        assert a.limit == 2
        with Capacity("b", one, None, lambda: 9) as b:
            wait_for(lambda: (a.limit, b.limit) == (1, 1))
        wait_for(lambda: a.limit == 2)
        dead = Capacity("c", one, None, lambda: 9)
        dead._look()
        wait_for(lambda: a.limit == 1)
        wait_for(lambda: a.limit == 2)
        with Capacity("d", one, 7, lambda: 9) as d:
            wait_for(lambda: (a.limit, d.limit) == (1, 1))
    with Capacity("d", one, 7, lambda: 9) as d:
        assert d.limit == 7
    for allowed, packs in ((1, 1), (3, 2), (16, 2), (40, 3)):  # those that are not full are spread, the last one waits
        with Capacity("e", RunResources(pack=16), allowed, lambda: 99) as e:
            assert (e.limit, e.num_fitting) == (packs, 2)
