"""What a node says of itself: our commands instead of Ray's, and Ray's errors as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.cli.cluster.node import description
from tuner.cluster import nodes
from tuner.cluster.node import StartOutput

RAYS = """\
Local node IP: 192.0.2.2

Ray runtime started.
  To terminate the Ray runtime, run
    ray stop
--block
  Process exit logs will be saved to: /tmp/session/logs/ray_process_exit.log
"""


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_rays_lines_are_kept_until_the_node_is_up_and_left_out_afterwards(size):
    told = []
    output = StartOutput(lambda address, logs: told.append((address, logs)))
    for at in range(0, len(RAYS), size):
        output.write(RAYS[at : at + size])
    output.write("more\n")
    assert told == [("192.0.2.2", Path("/tmp/session/logs"))]
    assert "more" not in output.text


def test_a_head_names_the_commands_that_join_it_and_send_sweeps():
    command = nodes.head_command("127.0.0.1", 6379, 8265, cpus=None, gpus=None)
    said = "\n".join(description(command, "192.0.2.2", Path("/logs")))
    assert "\n  tuner cluster join 192.0.2.2:6379\n" in said
    assert "\n  tuner launch SPACE --cluster http://127.0.0.1:8265\n" in said
    command = nodes.head_command("0.0.0.0", 6379, 8265, cpus=None, gpus=None)
    assert "--cluster http://192.0.2.2:8265" in "\n".join(description(command, "192.0.2.2", Path("/logs")))
    joining = nodes.join_command("192.0.2.2:6379", cpus=None, gpus=None)
    assert description(joining, "192.0.2.3", Path("/logs"))[0].startswith("This machine has joined 192.0.2.2:6379,")


def test_what_ray_refuses_is_shown(run):
    code, output = run("node", "start", "--frobnicate")
    assert code == 2
    assert "Usage: ray start" in output
    assert "No such option" in output
