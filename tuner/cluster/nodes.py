"""Starting the nodes of a cluster: ``ray start`` in an environment in which a token is always asked for."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Sequence

from trainables.common.process_state import python_command
from tuner.cluster.auth import check_mode, check_token_file
from tuner.cluster.local_ray import no_metrics, session_folder
from tuner.errors import SweepError, UserError

STOP_WAIT_S = 60
_AGENT_PORT = 52365  # Ray's own choice
_ANSWERS_S, _ASKED_EVERY_S = 2.0, 0.5
# A job is asked to end by Ctrl-C, upon which a driver requeues its runs, and is given time for that.
JOB_ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is one of this machine's loopback interface.

    Raises:
        UserError: the host name cannot be resolved.
    """
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise UserError(f"--host {host}: {error}") from None
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


def environment(*, insecure: bool = False) -> dict[str, str]:
    """Return the environment variables of ``ray start``: a token is required, and jobs are ended by SIGINT.

    Args:
        insecure: require no token: whoever reaches the cluster can run code on it.

    Raises:
        UserError: ``RAY_AUTH_MODE`` turns tokens off, or other users of this machine can read the token.
    """
    check_mode(insecure=insecure)
    if not insecure:
        check_token_file()
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}  # another cluster's
    return {
        **inherited,
        "RAY_AUTH_MODE": "disabled" if insecure else "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        **no_metrics(),
        **{name: os.environ.get(name, value) for name, value in JOB_ENVIRONMENT.items()},
    }


def head_command(
    host: str, port: int, dashboard_port: int, *, cpus: float | None, gpus: float | None, further: Sequence[str] = ()
) -> list[str]:
    """Return the command that starts a cluster's head.

    Args:
        host: the only address that the dashboard and Jobs API listen on. Ray's own ports listen on every address of the
            machine, whatever is asked for; the token protects them.
        port: where other nodes join.
        dashboard_port: of the dashboard and Jobs API.
        cpus: processors to offer; by default all.
        gpus: GPUs to offer; by default all.
        further: options of ``ray start``, passed on as they are.

    Raises:
        UserError: the host name cannot be resolved.
    """
    command = [*_START, "--head", "--port", str(port), "--dashboard-port", str(dashboard_port)]
    command += ["--dashboard-host", host]
    if not is_loopback(host) and not is_any(host):
        command += ["--node-ip-address", socket.gethostbyname(host)]
    return [*command, *_agent_port(), *_session_folder(further), *_resources(cpus, gpus), *further]


def join_command(address: str, *, cpus: float | None, gpus: float | None, further: Sequence[str] = ()) -> list[str]:
    """Return the command that starts a node which joins a head.

    Args:
        address: of the head, as ``HOST:PORT``.
        cpus: processors to offer; by default all.
        gpus: GPUs to offer; by default all.
        further: options of ``ray start``, passed on as they are.

    Raises:
        UserError: that is no such address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port[:6]) < 2**16 or "/" in host:
        raise UserError(f"ADDRESS must be HOST:PORT, the head's, like 10.0.0.1:6379, not {address!r}")
    return [*_START, "--address", address, *_agent_port(), *_session_folder(further), *_resources(cpus, gpus), *further]


def why_no_answer(address: str) -> str:
    """Return why a head cannot be reached now, empty if it can: it may be about to start.

    Args:
        address: of the head, as ``HOST:PORT``.

    Raises:
        UserError: there is no such host; Ray would look for it for ten minutes.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_S).close()
    except socket.gaierror as error:
        raise UserError(f"{host} is no host that this machine knows: {error.strerror}") from None
    except OSError as error:
        return str(error.strerror or error)
    return ""


def wait_for_head(address: str, patience_s: float = 600.0) -> None:
    """Return as soon as something answers at a head's address.

    Args:
        address: of the head, as ``HOST:PORT``.
        patience_s: how long to wait.

    Raises:
        SweepError: nothing has answered for so long.
        UserError: there is no such host.
    """
    deadline = time.monotonic() + patience_s
    while why := why_no_answer(address):
        if time.monotonic() > deadline:
            raise SweepError(f"nothing answers at {address}: {why}; start the head, then type this again")
        time.sleep(_ASKED_EVERY_S)


# What workers print is in the logs of their runs; a monitor would look at all their files ten times a second.
_START = (
    *python_command("tuner", "node"),
    *("start", "--block", "--disable-usage-stats", "--include-log-monitor", "false"),
    *("--log-style", "pretty", "--log-color", "false"),  # as `tuner.cluster.node` reads it
)


def _resources(cpus: float | None, gpus: float | None) -> list[str]:
    amounts = (("--num-cpus", cpus), ("--num-gpus", gpus))
    return [word for name, amount in amounts if amount is not None for word in (name, f"{amount:g}")]


def _session_folder(further: Sequence[str]) -> list[str]:
    """Return the option for a folder that other users cannot enter, unless another one was typed."""
    if any(word.partition("=")[0] == "--temp-dir" for word in further):
        return []
    return ["--temp-dir", str(session_folder())]


def _agent_port() -> list[str]:
    """Return the option for another port of the node's agent, without which no job runs, if the usual one is taken."""
    with socket.socket() as probe:
        try:
            probe.bind(("", _AGENT_PORT))
        except OSError:
            probe.bind(("", 0))
            return ["--dashboard-agent-listen-port", str(probe.getsockname()[1])]
    return []


def is_any(host: str) -> bool:
    """Return whether a host stands for all addresses of a machine."""
    return host in ("0.0.0.0", "::")  # noqa: S104
