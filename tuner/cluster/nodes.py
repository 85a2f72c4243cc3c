"""Starting the nodes of a cluster: ``ray start`` in an environment in which a token is always asked for."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Sequence

from tuner.cluster.auth import TOKEN_MODES, check_token_file
from tuner.errors import UserError

STOP_WAIT_S = 60
_AGENT_PORT = 52365  # Ray's own choice
# A job is asked to end by Ctrl-C, which lets a driver put its runs back, and has time for it.
JOB_ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address leads to this machine alone.

    Raises:
        UserError: it is unknown.
    """
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise UserError(f"--host {host}: {error}") from None
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)


def environment(*, insecure: bool = False) -> dict[str, str]:
    """Return the environment of ``ray start``: with a token, and so that drivers in jobs end gracefully.

    Args:
        insecure: somebody has typed it: whoever reaches the cluster may do with it what he likes.

    Raises:
        UserError: ``RAY_AUTH_MODE`` is against it, or others can read the token.
    """
    mode = "disabled" if insecure else os.environ.get("RAY_AUTH_MODE", "token")
    if not insecure:
        if mode not in TOKEN_MODES:
            raise UserError(
                f"RAY_AUTH_MODE is {mode!r}, so whoever reaches this node could run code on it; it must be 'token' "
                "(unset does): without authentication a node starts only with --insecure"
            )
        check_token_file()
    mine = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}  # another cluster's
    return {
        **mine,
        "RAY_AUTH_MODE": mode,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        **{name: os.environ.get(name, value) for name, value in JOB_ENVIRONMENT.items()},
    }


def head_command(
    host: str, port: int, dashboard_port: int, *, cpus: float | None, gpus: float | None, further: Sequence[str] = ()
) -> list[str]:
    """Return the command of a head, whose dashboard and Jobs API listen at a host alone.

    Ray's own ports listen on every address of the machine, whatever is asked for: the token keeps them.
    """
    command = [*_START, "--head", "--port", str(port), "--dashboard-port", str(dashboard_port)]
    command += ["--dashboard-host", host]
    if not is_loopback(host) and not _is_any(host):
        command += ["--node-ip-address", socket.gethostbyname(host)]
    return [*command, *_agent_port(), *_resources(cpus, gpus), *further]


def join_command(address: str, *, cpus: float | None, gpus: float | None, further: Sequence[str] = ()) -> list[str]:
    """Return the command of a node that joins the head at ``HOST:PORT``.

    Raises:
        UserError: that is no such address, or this machine has no token.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise UserError(f"ADDRESS must be HOST:PORT, the head's, like 10.0.0.1:6379, not {address!r}")
    return [*_START, "--address", address, *_agent_port(), *_resources(cpus, gpus), *further]


_START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats")


def _resources(cpus: float | None, gpus: float | None) -> list[str]:
    asked = (("--num-cpus", cpus), ("--num-gpus", gpus))
    return [word for name, amount in asked if amount is not None for word in (name, f"{amount:g}")]


def _agent_port() -> list[str]:
    """Return another port for the node's agent where a Ray of this machine has the usual one: jobs need an agent."""
    with socket.socket() as one:
        try:
            one.bind(("", _AGENT_PORT))
        except OSError:
            one.bind(("", 0))
            return ["--dashboard-agent-listen-port", str(one.getsockname()[1])]
    return []


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::")  # noqa: S104
