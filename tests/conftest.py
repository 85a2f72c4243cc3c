"""What holds for all tests: no deadlines, and which of them may run beside each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

# No test is judged by the clock: machines are busy with other things now and then.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Beside others, torch's threads of one process wait for each other, computing: ten times the work was measured.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files with the longest tests, longest first: whatever begins last keeps the others waiting at the end.
LONGEST_FIRST = (
    "tests/docker/test_image.py",
    "tests/docker/test_stack.py",
    "tests/integration/test_cluster.py",
    "tests/integration/test_partition.py",
    "tests/integration/test_steering.py",
    "tests/integration/test_command_line.py",
    "tests/integration/test_chaos.py",
    "tests/integration/test_faults_command_line.py",
    "tests/integration/test_database_sweeps.py",
    "tests/integration/test_confirm.py",
    "tests/integration/test_elasticity.py",
    "tests/integration/test_storage_urls.py",
    "tests/integration/test_faults.py",
    "tests/integration/test_cluster_tls.py",
    "tests/integration/test_cluster_places.py",
    "tests/integration/test_autoscaler.py",
    "tests/integration/test_execution.py",
)
# They are given to one worker with the long test of the image, behind which nothing else is to wait.
WITH_THE_IMAGE = {f"tests/docker/test_{name}.py" for name in ("image", "container", "lints", "rules")}
# Files of which each test starts whatever it needs in processes of its own, so that it can run beside its neighbours.
APART = {
    f"tests/integration/test_{name}.py"
    for name in ("command_line", "confirm", "elasticity", "faults_command_line", "partition", "steering")
}


def _rank(item: pytest.Item) -> int:
    file = item.nodeid.partition("::")[0]
    if file in LONGEST_FIRST:
        return LONGEST_FIRST.index(file)
    return len(LONGEST_FIRST) + (0 if file.startswith(("tests/integration/", "tests/docker/")) else 1)


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
            file = nodeid.partition("::")[0]
            return nodeid if file in APART else "image" if file in WITH_THE_IMAGE else file

    return FileByFile(config, log)
