"""What holds for all tests: no deadlines, and which of them may run beside each other."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

collect_ignore = ["plugins"]  # whose tests are run where they are installed, see tests/integration/test_plugin.py

# No test is judged by the clock: machines are busy with other things now and then.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Beside others, torch's threads of one process wait for each other, computing: ten times the work was measured.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What takes longest beside others, longest first: files, and tests that run apart from their file. Whatever begins last
# keeps the others waiting at the end.
LONGEST_FIRST = (
    "tests/docker/test_image.py",
    "tests/integration/test_cluster.py::test_launched",
    "tests/docker/test_stack.py",
    "tests/integration/test_confirm.py::test_killed",
    "tests/integration/test_tutorials.py",
    "tests/integration/test_fuzz.py",
    "tests/integration/test_chaos.py",
    "tests/integration/test_cluster.py::test_when_the_head_dies",
    "tests/integration/test_partition.py::test_a_cut_loses_nothing_and_counts_nothing_twice[60]",
    "tests/integration/test_partition.py",
    "tests/integration/test_command_line.py::test_killed",
    "tests/integration/test_execution.py",
    "tests/integration/test_slurm.py",
    "tests/integration/test_steering.py",
    "tests/integration/test_elasticity.py",
    "tests/integration/test_storage_urls.py",
    "tests/integration/test_surroundings.py",
    "tests/integration/test_confirm.py",
    "tests/integration/test_command_line.py",
    "tests/integration/test_database_sweeps.py",
    "tests/integration/test_faults_command_line.py",
    "tests/integration/test_cluster_tls.py",
    "tests/integration/test_cluster_places.py",
    "tests/integration/test_autoscaler.py",
)
# They are given to one worker with the long test of the image, behind which nothing else is to wait.
WITH_THE_IMAGE = {f"tests/docker/test_{name}.py" for name in ("image", "container", "lints", "rules")}
# They share one Ray.
ON_ONE_RAY = {f"tests/integration/test_{name}.py" for name in ("api", "execution", "faults")}
# Files and tests that start whatever they need in processes of their own, so that each can run beside its neighbours.
APART = {
    f"tests/integration/test_{name}.py"
    for name in ("command_line", "confirm", "elasticity", "faults_command_line", "partition", "steering")
} | {"tests/integration/test_cluster.py::test_when_the_head_dies_the_sweep_goes_on_on_another_cluster"}


BEGAN, MINUTES = "TUNER_TESTS_BEGAN", "TUNER_TESTS_MINUTES"
"""Variables: when the tests began, in seconds since 1970, and for how many minutes tests that take long are begun."""


def pytest_configure() -> None:
    """Take note of when the tests began; workers of pytest-xdist are started later, with the same variables."""
    os.environ.setdefault(BEGAN, str(time.time()))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """On a machine that is too slow for all tests, skip those that take long and would begin too late."""
    minutes = os.environ.get(MINUTES)
    if minutes and _takes_long(item.nodeid) and time.time() > float(os.environ[BEGAN]) + 60 * float(minutes):
        pytest.skip(f"tests that take long were begun for {minutes} minutes ({MINUTES}), and this machine is slow")


@pytest.fixture(scope="session")
def put_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Return a function that puts MLflow's database, as it is before the first sweep, into a home.

    MLflow makes its tables in dozens of steps, which take seconds of computing: here they are made once for all tests
    that are not about that. Workers of pytest-xdist share the file.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "mlflow.lock"):
        if not (folder / "mlflow" / "mlflow.db").exists():
            _make_mlflow_database(folder / "mlflow")

    def put(home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "mlflow" / "mlflow.db", home / "mlflow.db")

    return put


def _make_mlflow_database(folder: Path) -> None:
    from tuner.tracking.server import connect, quiet_mlflow

    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        warnings.simplefilter("ignore")  # of MLflow's dependencies
        with quiet_mlflow():
            connect(folder)


def _takes_long(nodeid: str) -> bool:
    return nodeid.startswith(("tests/integration/", "tests/docker/"))


def _rank(item: pytest.Item) -> tuple[int, bool]:
    ranks = (rank for rank, prefix in enumerate(LONGEST_FIRST) if item.nodeid.startswith(prefix))
    return next(ranks, len(LONGEST_FIRST)), not _takes_long(item.nodeid)


def _scope(nodeid: str) -> str:
    """Return the name of what a test is given to a worker together with."""
    file = nodeid.partition("::")[0]
    if file in ON_ONE_RAY or "::test_drivers_find_each_other" in nodeid:
        return "tests/integration/ on one Ray"
    if {file, nodeid} & APART:
        return nodeid
    return "tests/docker/ with the image" if file in WITH_THE_IMAGE else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first, and tests that need no servers last."""
    items.sort(key=_rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """With ``--dist loadscope``: give each worker a file after another, for its tests share what they start."""
    if config.option.dist != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class FileByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

        def _assign_work_unit(self, node: WorkerController) -> None:
            """Let nothing that takes long wait behind its like: a worker is given more before it has ended the last."""
            is_busy = any(
                _takes_long(scope) and not all(tests.values()) for scope, tests in self.assigned_work[node].items()
            )
            fitting = (scope for scope in self.workqueue if _takes_long(scope) != is_busy)
            self.workqueue.move_to_end(next(fitting, next(iter(self.workqueue))), last=False)
            super()._assign_work_unit(node)

    return FileByFile(config, log)
