"""A fake of Ray's Jobs API, for faults that a real head does not show on demand: lost answers, other releases."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ray

TOKEN = "secret"


class Head(ThreadingHTTPServer):
    """Accepts jobs as the Jobs API does; each ends at once, with the same log and exit code."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.version = ray.__version__
        self.asks_for_a_token = True
        self.answers_to_lose = 0
        self.requests: list[str] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.log = "Ray's own\n--- tuner begins\n"
        self.ending = {"status": "SUCCEEDED", "driver_exit_code": 0}

    def secure(self, certificate: Path, key: Path) -> None:
        """Speak TLS alone from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.address = self.address.replace("http:", "https:")

    def submit(self, request: dict[str, Any]) -> int:
        if request["submission_id"] in self.jobs:
            return 400
        times = {"start_time": len(self.jobs) + 1, "end_time": 1}
        self.jobs[request["submission_id"]] = {"type": "SUBMISSION", **request, **times, **self.ending}
        return 200


class _Handler(BaseHTTPRequestHandler):
    server: Head

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        jobs = self.server.jobs
        name, _, what = self.path.removeprefix("/api/jobs/").partition("/")
        if self.path == "/api/version":
            self._answer(200, {"ray_version": self.server.version, "version": "4"})
        elif self.path.startswith("/api/packages/"):
            self._answer(200 if self.path in self.server.uploads else 404, {})
        elif not name:
            self._answer(200, list(jobs.values()))
        elif name not in jobs:
            self._answer(404, f"Job {name} does not exist")
        else:
            self._answer(200, {"logs": self.server.log} if what == "logs" else jobs[name])

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        code = self.server.submit(request)
        if self.server.answers_to_lose:
            self.server.answers_to_lose -= 1
            self.close_connection = True
            self.connection.close()
            return
        self._answer(code, {"job_id": "", "submission_id": request["submission_id"]} if code == 200 else "exists")

    def do_PUT(self) -> None:
        self.server.uploads[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, {})

    def do_DELETE(self) -> None:
        self.server.jobs.pop(self.path.removeprefix("/api/jobs/"))
        self._answer(200, {"deleted": True})

    def _answer(self, code: int, content: Any) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        given = self.headers.get("Authorization")
        if self.server.asks_for_a_token and given != f"Bearer {TOKEN}":
            code, content = 403 if given else 401, "no"
        body = json.dumps(content).encode() if code == 200 else str(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def playing() -> Iterator[Head]:
    """Run a head for a while."""
    with Head() as head:
        thread = threading.Thread(target=head.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield head
        finally:
            head.shutdown()
            thread.join()
