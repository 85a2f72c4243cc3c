"""What a stranger is told at every door of the stack: run in its network, it prints one JSON object.

Usage: ``python -m tests.docker.doors [HOST:PORT ...] [--password PASSWORD]``, a wrong one for every door.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import grpc
import psycopg
import requests

HEAD, WORKER = "http://ray-head:8265", "http://ray-worker-1:52365"
GETS = (
    "http://localhost:8265/api/version",
    "http://localhost:8265/api/jobs/",
    f"{HEAD}/api/jobs/",
    f"{HEAD}/nodes?view=summary",
    f"{HEAD}/api/v0/logs/file?node_id=x&filename=raylet.out",
    f"{WORKER}/api/job_agent/jobs/x/logs",
    "http://localhost:5000/",
    "http://mlflow:5000/api/2.0/mlflow/users/get?username=admin",
    "http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts",
    "http://localhost:5000/ajax-api/2.0/mlflow/experiments/search?max_results=1",
    "http://localhost:8080/",
    "http://optuna-dashboard:8080/api/studies",
)
POSTS = {
    f"{HEAD}/api/jobs/": {"entrypoint": "true"},
    f"{WORKER}/api/job_agent/jobs/": {"entrypoint": "true"},
    "http://mlflow:5000/api/2.0/mlflow/experiments/create": {"name": "x"},
    "http://mlflow:5000/graphql": {"query": "{__typename}"},
}


def credentials(password: str | None, url: str) -> dict[str, Any]:
    """Return what goes with a request: nothing, a wrong token, or a wrong password."""
    if password is None:
        return {}
    is_ray = url.startswith(("http://localhost:8265", HEAD, WORKER))
    return {"headers": {"Authorization": f"Bearer {password}"}} if is_ray else {"auth": ("admin", password)}


def web(password: str | None) -> dict[str, int]:
    """Return the status of every request."""
    answers = {url: requests.get(url, **credentials(password, url), timeout=30) for url in GETS}
    answers |= {
        url: requests.post(url, json=body, **credentials(password, url), timeout=30) for url, body in POSTS.items()
    }
    return {url: answer.status_code for url, answer in answers.items()}


def database(password: str | None, user: str, name: str) -> str:
    """Return what PostgreSQL says."""
    try:
        psycopg.connect(host="postgres", user=user, dbname=name, password=password or "").close()
    except psycopg.OperationalError as error:
        return str(error)
    return "welcome"


def port(address: str, password: str | None) -> str:
    """Return what one of Ray's ports says: its HTTP status, its gRPC code, or nobody if no process is there."""
    try:
        return str(requests.get(f"http://{address}/metrics", **credentials(password, HEAD), timeout=30).status_code)
    except requests.ConnectionError:
        codes = {remote_call(address, method, password) for method in METHODS} - {"UNIMPLEMENTED", "UNAVAILABLE"}
        return ", ".join(sorted(codes)) or "nobody"


METHODS = (
    "/ray.rpc.NodeInfoGcsService/GetClusterId",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.NodeManagerService/RequestWorkerLease",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.rpc.LogService/ListLogs",
    "/ray.rpc.RayletDriver/ClusterInfo",
    "/ray.rpc.CoreWorkerService/PushTask",
)


def remote_call(address: str, method: str, password: str | None) -> str:
    """Return the code with which a gRPC call ends."""
    metadata = [("authorization", f"Bearer {password}")] if password else []
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "welcome"


def main() -> None:
    """Knock everywhere."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ports", nargs="*")
    parser.add_argument("--password")
    asked = parser.parse_args()
    told = {
        "web": web(asked.password),
        "ports": {address: port(address, asked.password) for address in asked.ports},
        "database": [database(asked.password, *pair) for pair in (("tuner", "studies"), ("mlflow", "mlflow"))],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
