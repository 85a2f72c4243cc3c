"""What another user of this machine gets from a running sweep and a cluster: nothing from any socket or folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.integration.conftest import CommandLine
from tests.support.clusters import RayCluster
from tests.support.other_user import as_nobody, needs_root
from tests.support.sockets import descendants, listening
from tuner.cluster.local_ray import session_folder

pytestmark = [pytest.mark.ray, pytest.mark.cluster, needs_root]

# Not "/": the page of the dashboard asks for the token, and has no content without it.
PATHS = [
    "/nodes?view=summary",
    "/api/jobs/",
    "/api/version",
    "/logical/actors",
    "/api/v0/nodes",
    "/api/v0/logs",
    "/metrics",
]
ASK = """
addresses, paths = arguments
answers = []
for host, port in addresses:
    for method in ("GET", "POST"):
        for path in paths:
            connection = http.client.HTTPConnection(host, port, timeout=30)
            try:
                connection.request(method, path, b"{}")
                answers.append([port, method, path, connection.getresponse().status])
            except (OSError, http.client.HTTPException):  # no HTTP there: see what gRPC answers
                answers.append([port, method, path, 0])
            connection.close()
print(json.dumps(answers))
"""
LOOK = """
def tried(path):
    try:
        return os.listdir(path)
    except PermissionError:
        return "denied"
print(json.dumps([tried(path) for path in arguments]))
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RayCluster]:
    cluster = RayCluster(tmp_path / "token")
    cluster.add_worker()
    yield cluster
    cluster.end()


def call_without_token(address: tuple[str, int]) -> grpc.StatusCode:
    """Return how a call of the cluster's list of nodes ends that has no token."""
    with grpc.insecure_channel(f"{address[0]}:{address[1]}") as channel:
        method = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"
        call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        try:
            call(b"", timeout=30)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_nobody_gets_an_answer_from_a_sweep_and_a_cluster(command_line: CommandLine, cluster: RayCluster):
    command_line.draw_nothing()
    command = command_line.start("launch", "digits", "--name", "a", "--trials", "40")
    command_line.wait_until("a", lambda records: any(record.metrics for record in records), command)
    processes = set().union(*(descendants(node.process.pid) for node in cluster.nodes))
    sockets = {*listening(processes), *listening(descendants(command.process.pid))}
    addresses = [("127.0.0.1" if host in ("0.0.0.0", "::") else host, port) for host, port in sorted(sockets)]
    assert len(addresses) > 10, "the head alone has half a dozen"

    answers = as_nobody(ASK, addresses, PATHS)
    statuses = {status for *_, status in answers}
    assert {401} <= statuses <= {401, 403, 0}, [answer for answer in answers if answer[3] not in (401, 403, 0)]
    assert grpc.StatusCode.OK not in {call_without_token(address) for address in addresses}

    assert as_nobody(LOOK, str(command_line.home), str(session_folder())) == ["denied", "denied"]
