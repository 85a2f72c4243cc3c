"""A cluster whose autoscaler starts machines: runs that no present machine has room for wait for them."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.integration.test_elasticity import SPACE
from tests.support.namespaces import Machine, needs_namespaces
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

pytestmark = [pytest.mark.cluster, needs_namespaces]

HEAD = "f" * 51 + "00000"  # what Ray's own stand-in for a cloud calls the head
CLOUD = {
    "cluster_name": "stand-in",
    "max_workers": 1,
    "provider": {
        "type": "fake_multinode",
        "head_node_id": HEAD,
        "launch_multiple": True,
        "disable_node_updaters": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "large": {"resources": {"CPU": 4, "object_store_memory": 10**8}, "node_config": {}, "max_workers": 1},
    },
    "head_node_type": "ray.head.default",
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 5,
    "docker": {},
    "auth": {},
    **{name: {} for name in ("head_node", "worker_nodes", "file_mounts")},
    **{name: [] for name in ("cluster_synced_files", "initialization_commands", "setup_commands")},
    **{name: [] for name in ("head_setup_commands", "worker_setup_commands")},
    **{name: [] for name in ("head_start_ray_commands", "worker_start_ray_commands")},
}


def test_machines_that_an_autoscaler_starts_are_waited_for_and_others_are_not(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "RAY_worker_niceness": "0"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    cloud = {"RAY_FAKE_CLUSTER": "1", "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD, "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    (tmp_path / "cloud.json").write_text(json.dumps(CLOUD))
    machine = Machine()
    try:
        head = [sys.executable, "-m", "tuner", "cluster", "head", "--cpus", "1", "--object-store-memory", str(10**8)]
        options = ["--node-ip-address", "127.0.0.1", "--autoscaling-config", str(tmp_path / "cloud.json")]
        started = machine.start([*head, *options], environment | cloud, tmp_path / "head")
        while "until Ctrl-C" not in (tmp_path / "head").read_text():
            assert started.poll() is None, (tmp_path / "head").read_text()
            time.sleep(0.2)
        for cpus, code, words in (
            (99, 2, "at most 1 on one machine"),
            (3, 0, "Waiting for machines that the cluster's"),
        ):
            name = f"cpus-{cpus}"
            space = SPACE.replace("TRIALS", "1").replace("COMPUTE", "2").replace("cpu: 1", f"cpu: {cpus}")
            (tmp_path / f"{name}.yaml").write_text(space.replace("SHARE", "0"))
            command = [sys.executable, "-m", "tests.support.idle", "launch", str(tmp_path / f"{name}.yaml")]
            command += ["--name", name, "--home", str(tmp_path / "sweeps")]
            driver = machine.start(command, environment | {"RAY_ADDRESS": "127.0.0.1:6379"}, tmp_path / name)
            assert driver.wait(1200) == code, (tmp_path / name).read_text()
            assert words in (tmp_path / name).read_text()
        [record] = read_records(SweepFolder.open("cpus-3", home=tmp_path / "sweeps"))
        assert record.state == "complete"
    finally:
        machine.end()
