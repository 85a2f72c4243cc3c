"""A cluster whose nodes speak TLS to each other, with an authority of its own beside the token."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import grpc
import pytest

from tests.integration.conftest import CommandLine
from tests.support.clusters import RayCluster

pytestmark = [
    pytest.mark.ray,
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates take Debian's openssl"),
]


def own_address() -> str:
    """Return the address that Ray gives a node of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 1))  # sends nothing
        return str(one.getsockname()[0])


def authority(folder: Path) -> dict[str, str]:
    """Make an authority and a certificate that it has signed; return Ray's variables for them."""
    folder.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(*new, "-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
    openssl(*new[:-2], "-subj", "/CN=node", "-keyout", "node.key", "-out", "node.csr")
    (folder / "names").write_text(f"subjectAltName=IP:127.0.0.1,IP:{own_address()}\n")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "node.csr", *signed, "-out", "node.crt")
    files = {"CA_CERT": "ca.crt", "SERVER_CERT": "node.crt", "SERVER_KEY": "node.key"}
    return {"RAY_USE_TLS": "1", **{f"RAY_TLS_{name}": str(folder / file) for name, file in files.items()}}


def ask(channel: grpc.Channel, token: str) -> grpc.StatusCode:
    with channel:
        try:
            call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
            call(b"", timeout=10, metadata=[("authorization", f"Bearer {token}")])
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def test_a_sweep_on_nodes_that_speak_tls(command_line: CommandLine, tmp_path: Path):
    variables = authority(tmp_path / "tls")
    cluster = RayCluster(tmp_path / "token", TUNER_HOME=str(command_line.home), **variables)
    try:
        cluster.add_worker()
        command_line.environment |= {"RAY_ADDRESS": cluster.address, "RAY_AUTH_TOKEN_PATH": str(cluster.token)}
        command_line.run("launch", "digits", "--trials", "1")
        assert "3 of 3 runs" in command_line.run("logs", "digits", "--follow")
        token = cluster.token.read_text()
        authority_alone, certificate, key = (
            Path(variables[f"RAY_TLS_{name}"]).read_bytes() for name in ("CA_CERT", "SERVER_CERT", "SERVER_KEY")
        )
        whole = grpc.ssl_channel_credentials(authority_alone, key, certificate)
        assert ask(grpc.secure_channel(cluster.gcs, whole), token) == grpc.StatusCode.OK
        assert ask(grpc.secure_channel(cluster.gcs, whole), "1" * 64) == grpc.StatusCode.UNAUTHENTICATED
        assert ask(grpc.insecure_channel(cluster.gcs), token) == grpc.StatusCode.UNAVAILABLE
        nobody = grpc.ssl_channel_credentials(authority_alone)
        assert ask(grpc.secure_channel(cluster.gcs, nobody), token) == grpc.StatusCode.UNAVAILABLE
    finally:
        cluster.end()
