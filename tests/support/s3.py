"""An S3 server on loopback, in a process of its own, whose content is lost when it ends."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from pyarrow.fs import FileSystem

from tests.support.servers import free_port
from trainables.storage.object_store import store_at

BUCKET = "sweeps"


class S3Server:
    """A server with one bucket; `environment` is what a client needs to reach it."""

    def __init__(self) -> None:
        if importlib.util.find_spec("moto") is None:
            pytest.skip("moto is not installed: pip install -e '.[test]'")
        port = free_port()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "of-the-tests",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def make_bucket(self) -> None:
        """Make the bucket; the environment must be that of a client."""
        filesystem, _ = FileSystem.from_uri(f"s3://{BUCKET}?allow_bucket_creation=true")
        filesystem.create_dir(BUCKET)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Suspend it meanwhile, so that it does not answer."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it, and clear cached connections: the next server has the same bucket at another port."""
        self._process.kill()
        self._process.wait(30)
        store_at.cache_clear()
