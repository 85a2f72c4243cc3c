"""One sweep on a cluster of two raylets beside an MLflow server, and what is done to them round by round.

What is done while a driver is at work is here; what is done to other commands, when it has ended, is in
`tests.chaos.commands`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from ray.cluster_utils import Cluster

from tests.chaos.commands import COMMANDS, LONGEST_S, PATIENCE_S, interrupt_command
from tests.chaos.invariants import check_end, check_nothing_lost, repeated, rows_of
from tests.support.servers import MlflowServer
from tuner.errors import UserError
from tuner.sweep.control import ask_driver, phase_of
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record

FAULTS = ("driver", "worker", "pack", "machine", "mlflow", "storage", "stopped", "paused", "resumes", *COMMANDS)
REPORT_EVERY = 1.0
SPACE = f"""\
name: chaos
trainable: gan
dataset: {{name: digits, validation: 200}}
evaluation: {{epsilon: 0.05, watch_images: 50, rank_images: 100}}
budget: {{trials: 2, compute: 6}}
search: {{sampler: tpe, pruner: {{successive_halving: {{min_resource: 3, reduction_factor: 2}}}}}}
baselines: [standard]
resources: {{pack: {{pack}}}}
parameters:
  batch_size: 16
  report_every: {REPORT_EVERY}
  generator: {{learning_rate: {{float: [1.0e-4, 1.0e-2], log: true}}}}
"""
_NODE = {"num_cpus": 1, "object_store_memory": 100 * 1024**2}


class Chaos:
    """The sweep and everything that it runs on; a context manager, which ends what it has started."""

    def __init__(self, folder: Path, seed: int, pack: int = 1) -> None:
        """Begin nothing yet; runs will be trained in packs of so many."""
        self.folder = folder
        self._pack = pack
        self.random = random.Random(seed)
        self.longest_s = dict(LONGEST_S)
        self._home = folder / "sweeps"
        self._driver: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        self._faults: list[str] = []
        self._num_trials = 2
        self._repeated = 0

    def __enter__(self) -> Chaos:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")
        self.server = MlflowServer(self.folder / "mlflow")
        self.server.start()
        self._cluster = Cluster(initialize_head=True, head_node_args={**_NODE, "include_dashboard": False})
        self._node = self._cluster.add_node(**_NODE)
        (self.folder / "chaos.yaml").write_text(SPACE.replace("{pack}", str(self._pack)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._started:
            if process.poll() is None:
                process.terminate()
        self._cluster.shutdown()
        self.server.kill()
        if error is not None and (self.folder / "output").exists():
            sys.stderr.write((self.folder / "output").read_text())

    @property
    def sweep(self) -> SweepFolder:
        """The sweep as it is on disk."""
        return SweepFolder.open("chaos", home=self._home)

    @property
    def records(self) -> list[Record]:
        """What the ledger says right now; nothing before the sweep is made."""
        return read_records(self.sweep) if (self._home / "chaos" / "sweep.json").exists() else []

    def round(self, number: int, faults: list[str]) -> None:
        """Do one fault while runs are at work, then go on to the end or, after a dead driver, to the next round."""
        # In random order, but each as often as any other.
        self._faults = self._faults or self.random.sample(faults, len(faults))
        fault = self._faults.pop()
        before = self.records
        rows, ended = rows_of(before), {one.run.key: one.state for one in before if one.state != "running"}
        self._num_trials += self.random.choice((1, 2))
        self._drive()
        self._wait_for_rows(sum(map(len, rows.values())) + self.random.randrange(1, 6))
        time.sleep(self.random.random())
        if fault in COMMANDS:
            self._finish_round()
            done = interrupt_command(self, fault)
        else:
            done = self._cause(fault)
        if self._driver is not None:
            self._finish_round()
        records = self.records
        check_nothing_lost(rows, ended, records)
        again = repeated(records) - self._repeated
        self._repeated += again
        print(
            f"round {number:2d}  {fault:<8} {done:<58} {sum(one.state != 'running' for one in records):3d} runs ended, "
            f"{sum(map(len, rows_of(records).values())):3d} reports, repeated compute {again * REPORT_EVERY:.0f}",
            flush=True,
        )

    def finish(self) -> None:
        """Drive the sweep to its end and check all that must hold then."""
        self.server.start()
        self._drive()
        self._finish_round()
        for _ in range(2):
            self.run("sync", "chaos")
            check_end(self.sweep, self.server.uri)
        records = self.records
        again = repeated(records)
        compute = sum(record.metrics["compute"] for record in records)
        print(
            f"all rounds survived: {len(records)} runs, each once here and in MLflow; compute {compute:.0f}, of which "
            f"at most {again * REPORT_EVERY:.0f} had to be repeated",
            flush=True,
        )

    def _cause(self, fault: str) -> str:
        causes: dict[str, Callable[[], str]] = {
            "driver": self._kill_driver,
            "worker": self._kill_worker,
            "pack": self._kill_pack,
            "machine": self._kill_machine,
            "mlflow": self._kill_mlflow,
            "storage": self._lock_storage,
            "stopped": self._stop_driver,
            "paused": self._kill_paused,
            "resumes": self._resume_twice,
        }
        return causes[fault]()

    def _kill_driver(self) -> str:
        if self._driver is None:
            return ""
        if self._driver.poll() is not None:
            self._finish_round()
            return "the driver had ended"
        self._driver.kill()
        self._driver.wait(30)
        pid, self._driver = self._driver.pid, None
        return f"kill -9 of the driver, process {pid}"

    def _stop_driver(self) -> str:
        assert self._driver is not None
        stopped_s = self.random.uniform(2, 20)
        self._driver.send_signal(signal.SIGSTOP)
        time.sleep(stopped_s)
        self._driver.send_signal(signal.SIGCONT)
        return f"SIGSTOP of the driver, SIGCONT after {stopped_s:.0f} s"

    def _kill_paused(self) -> str:
        with contextlib.suppress(UserError):  # it has ended meanwhile
            ask_driver(self.sweep, "pause")
        time.sleep(self.random.uniform(0, 10))
        phase = phase_of(self.sweep)
        return f"{phase} when {self._kill_driver()}"

    def _resume_twice(self) -> str:
        killed = self._kill_driver()
        drivers = [self.start("resume", "chaos") for _ in range(2)]
        codes = [driver.wait(PATIENCE_S) for driver in drivers]
        assert sorted(codes) in ([0, 0], [0, 2]), f"two resumes at once ended with {codes}"
        return f"two resumes at once after {killed}, exit codes {codes}"

    def _kill_worker(self) -> str:
        return self._kill_one("worker", "ResourceTrainable")

    def _kill_pack(self) -> str:
        return self._kill_one("pack", "PackServer")

    def _kill_one(self, what: str, title: str) -> str:
        there = [pid for node in self._nodes() for pid in _children(node) if title in _title(pid)]
        if not there:
            return f"no {what} was at work"
        pid = self.random.choice(there)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"kill -9 of a {what}, process {pid} of {len(there)}"

    def _kill_machine(self) -> str:
        pid = _raylet(self._node)
        os.kill(pid, signal.SIGKILL)
        self._cluster.remove_node(self._node, allow_graceful=False)
        self._node = self._cluster.add_node(**_NODE)
        return f"kill -9 of a raylet, process {pid}; another joins"

    def _kill_mlflow(self) -> str:
        self.server.kill()
        pause_s = self.random.uniform(2, 12)
        time.sleep(pause_s)
        self.server.start()
        return f"kill -9 of the MLflow server, back after {pause_s:.0f} s"

    def _lock_storage(self) -> str:
        locked_s = self.random.uniform(4, 12)
        with self.sweep.journal.open("rb") as file, self.server.database_locked():
            fcntl.flock(file, fcntl.LOCK_EX)
            time.sleep(locked_s)
        return f"journal and MLflow's database locked for {locked_s:.0f} s"

    def _drive(self) -> None:
        exists = (self._home / "chaos" / "sweep.json").exists()
        how = ["resume", "chaos"] if exists else ["launch", str(self.folder / "chaos.yaml"), "--name", "chaos"]
        self._driver = self.start(*how, "--trials", str(self._num_trials))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command on the sweep's home; its output is shown if the test fails."""
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(self.command(*arguments), env=self.environment, stdout=output, stderr=output)
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> None:
        """Run a command to its end, which has to be a good one."""
        code = self.start(*arguments).wait(PATIENCE_S)
        assert code == 0, f"{arguments} ended with {code}"

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a command on the sweep's home."""
        return [sys.executable, "-m", "tests.chaos.counted", *arguments, "--home", str(self._home)]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of all commands."""
        # What is not imported from a package is found from the root of the checkout, on the workers, too.
        root = str(Path(__file__).parent.parent.parent)
        return {
            **os.environ,
            "PYTHONPATH": root,
            "RAY_ADDRESS": str(self._cluster.address),
            "MLFLOW_TRACKING_URI": self.server.uri,
        }

    def _finish_round(self) -> None:
        assert self._driver is not None
        code = self._driver.wait(PATIENCE_S)
        self._driver = None
        assert code == 0, f"the driver ended with {code}"

    def _wait_for_rows(self, num: int) -> None:
        assert self._driver is not None
        deadline = time.monotonic() + PATIENCE_S
        while sum(map(len, rows_of(self.records).values())) < num and self._driver.poll() is None:
            assert time.monotonic() < deadline, "the sweep does not get on"
            time.sleep(0.2)

    def _nodes(self) -> Iterator[int]:
        yield from (_raylet(node) for node in (self._cluster.head_node, self._node))


def _raylet(node: object) -> int:
    pid: int = node.all_processes["raylet"][0].process.pid  # type: ignore[attr-defined]
    return pid


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""
