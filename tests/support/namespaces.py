"""Several machines on one: network namespaces with addresses of their own, joined by a router.

The network is cut in the router, so both ends see a network that loses every packet.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tuner.cluster.local_ray import session_folder

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("nsenter") is None,
    reason="network namespaces need root, and the commands ip (Debian: iproute2) and nsenter (util-linux)",
)


class Machine:
    """A network namespace with a folder of its own for Ray; everything that is started in it ends with it."""

    def __init__(self) -> None:
        folder = session_folder().parent  # each machine has one of its own, as it would
        self._holder = subprocess.Popen(
            ["unshare", "-mn", "sh", "-c", f"mount -t tmpfs tmpfs {folder} && ip link set lo up && echo && cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int:
        """The id of the process that keeps the namespaces."""
        return self._holder.pid

    def command(self, *command: str) -> list[str]:
        """Return a command that runs in this machine."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "--", *command]

    def run(self, *command: str) -> None:
        """Run a command to its end."""
        subprocess.run(self.command(*command), check=True, capture_output=True)

    def start(self, command: Sequence[str], environment: dict[str, str], output: Path) -> subprocess.Popen[bytes]:
        """Start a process."""
        with output.open("ab") as file:
            process = subprocess.Popen(self.command(*command), env=environment, stdout=file, stderr=file)
        self._started.append(process)
        return process

    def end(self) -> None:
        """End all processes that were started, and the namespaces with them."""
        for process in reversed(self._started):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(30)
        network = Path(f"/proc/{self.pid}/ns/net").readlink()
        self._holder.communicate(b"")
        assert self._holder.wait(30) == 0
        for folder in Path("/proc").glob("[0-9]*"):  # what Ray leaves behind when it is ended
            with suppress(OSError):
                if (folder / "ns" / "net").readlink() == network:
                    os.kill(int(folder.name), signal.SIGKILL)


class Network:
    """Two machines, ``10.77.1.2`` and ``10.77.2.2``, and the router between them."""

    ADDRESSES = ("10.77.1.2", "10.77.2.2")

    def __init__(self) -> None:
        self._router = Machine()
        self.machines = (Machine(), Machine())
        for number, machine in enumerate(self.machines, 1):
            here, there = ("netns", str(machine.pid)), ("netns", str(self._router.pid))
            ends = ["ip", "link", "add", "eth0", *here, "type", "veth", "peer", "name", f"eth{number}", *there]
            subprocess.run(ends, check=True, capture_output=True)
            for where, name, last in ((machine, "eth0", 2), (self._router, f"eth{number}", 1)):
                where.run("ip", "address", "add", f"10.77.{number}.{last}/24", "dev", name)
                where.run("ip", "link", "set", name, "up")
            machine.run("ip", "route", "add", "default", "via", f"10.77.{number}.1")
        self.join()

    def cut(self) -> None:
        """Let nothing through any more, in neither direction."""
        self._forward(0)

    def join(self) -> None:
        """Let everything through."""
        self._forward(1)

    def _forward(self, value: int) -> None:
        self._router.run("sh", "-c", f"echo {value} > /proc/sys/net/ipv4/ip_forward")

    def end(self) -> None:
        """End the machines and the router."""
        for machine in (*reversed(self.machines), self._router):
            machine.end()


@contextmanager
def network() -> Iterator[Network]:
    """Make two machines; they end with everything that was started in them."""
    made = Network()
    try:
        yield made
    finally:
        made.end()
