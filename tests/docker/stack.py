"""The stack of docker/compose.yaml without a container engine, for root on a Debian system.

``unshare --net --mount python -m tests.docker.stack FOLDER`` brings it up until its input ends; FOLDER/secrets is made.
Each service is a process in a network, a file system and a process table of its own (iproute2, bubblewrap), with the
command, environment, user, secrets, volumes and rights that compose.yaml gives it, and can write nowhere else. The
image's part is played by this Python environment, that of PostgreSQL's by Debian's package. Limits of memory and
processors are not set. The process that runs this is the machine outside: published ports are on its loopback.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.docker.manifests import DOCKER, ROOT, compose, image_environment

_NETWORK = ipaddress.ip_network("10.77.0.0/24")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
_SETTINGS = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl", "/etc/nsswitch.conf", "/etc/localtime")
_PASSWD = "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\ntuner:x:10001:10001::/tmp:/bin/sh\n"
_GROUP = "root:x:0:\npostgres:x:999:\ntuner:x:10001:\n"


def needs() -> str | None:
    """Return what is missing here to run the stack, if anything."""
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "network namespaces need root"
    tools = {"ip": "iproute2", "bwrap": "bubblewrap", "nsenter": "util-linux"}
    missing = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if not postgres_programs():
        missing.append("postgresql")
    if missing:
        return f"Debian's packages are missing: {' '.join(missing)}"
    return None if find_spec("flask_wtf") else "MLflow's authentication is missing: pip install -e '.[server]'"


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's own programs as Debian installs them, the newest."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@dataclass
class Service:
    """One container, as a process."""

    name: str  # of the service, with a number where there are several
    settings: dict[str, Any]
    address: str
    folder: Path  # of the whole stack
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0  # of a process inside

    @property
    def environment(self) -> dict[str, str]:
        """What the image and compose.yaml set."""
        own = {name: str(value) for name, value in self.settings.get("environment", {}).items()}
        if self.settings["image"].startswith("postgres:"):
            path = f"{ROOT}/tests/docker:{postgres_programs()}:/usr/bin:/bin"
            return {"PATH": path, "PGDATA": "/var/lib/postgresql/data", **own}
        path = "/opt/container:/opt/tuner/bin:/usr/local/bin:/usr/bin:/bin"
        fair = {"RAY_worker_niceness": "0"}  # at Ray's own 15, workers hardly ever run beside other tests' processes
        return {"PATH": path, "PYTHONPATH": str(ROOT), **fair, **image_environment(), **own}

    @property
    def command(self) -> list[str]:
        """Return the image's entrypoint with the service's command."""
        entrypoint = "postgres_entrypoint" if self.settings["image"].startswith("postgres:") else "entrypoint"
        return [entrypoint, *self.settings["command"]]

    @property
    def user(self) -> list[str]:
        """Return the command that gives up every right."""
        uid, _, gid = self.settings["user"].partition(":")
        lowered = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups"]
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", *lowered]

    def start(self) -> None:
        """Start the service in its own network."""
        read, write = os.pipe()
        sandbox = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--info-fd", str(write)]
        caps = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
        variables = [word for name, value in self.environment.items() for word in ("--setenv", name, value)]
        command = [*sandbox, *caps, "--clearenv", *variables, *self._files(), "--", *self.user, *self.command]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[write],
            )
        os.close(write)
        with os.fdopen(read) as info:
            self.pid = json.load(info)["child-pid"]

    def _files(self) -> list[str]:
        """Return what it sees: this system read-only, Python and the project, and what compose.yaml mounts."""
        seen = [path for path in (*_SYSTEM, *_SETTINGS, sys.prefix, sys.base_prefix, str(ROOT)) if Path(path).exists()]
        binds = [("--ro-bind", path, path) for path in seen]
        binds += [("--ro-bind", str(self.folder / name), f"/etc/{name}") for name in ("passwd", "group", "hosts")]
        binds += [("--ro-bind", sys.prefix, "/opt/tuner"), ("--ro-bind", str(DOCKER), "/opt/container")]
        for volume in self.settings.get("volumes", ()):
            kind = "--ro-bind" if volume.get("read_only") else "--bind"
            binds.append((kind, str(self._source(volume)), volume["target"]))
        for secret in self.settings.get("secrets", ()):
            binds.append(("--ro-bind", str(self.folder / "secrets" / secret["source"]), secret["target"]))
        words = ["--proc", "/proc", "--dev", "/dev"]
        words += _tmpfs("/dev/shm", f"mode=1777,size={self.settings.get('shm_size', 64 << 20)}")
        for mount in self.settings["tmpfs"]:
            words += _tmpfs(*mount.split(":"))
        for bind in binds:
            words += [*_folders(bind[2]), *bind]
        return [*words, "--remount-ro", "/", "--chdir", "/tmp"]

    def _source(self, volume: dict[str, Any]) -> Path:
        """Return what is mounted; a new volume belongs to the service's user, as a named one of Docker's does."""
        if volume["type"] == "bind":
            return Path(volume["source"])
        folder = self.folder / "volumes" / volume["source"]
        if not folder.exists():
            folder.mkdir(parents=True)
            os.chown(folder, *map(int, self.settings["user"].split(":")))
        return folder

    def _forbid_execution(self) -> None:
        """Let nothing in a temporary file system be run, as Docker's mounts do."""
        for mount in self.settings["tmpfs"]:
            options = ["-o", "remount,bind,noexec,nosuid,nodev", mount.partition(":")[0]]
            _run("nsenter", "--target", str(self.pid), "--mount", "mount", *options)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as `docker exec` does."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        inside = ["nsenter", "--target", str(self.pid), "--all", "--wd=/tmp", *self.user, "env", "-i", *variables]
        return subprocess.run([*inside, *command], capture_output=True, text=True, check=False)

    def is_healthy(self) -> bool:
        """Ask by the health check of compose.yaml, else by the image's."""
        test = self.settings.get("healthcheck", {}).get("test", ["CMD", "healthcheck"])
        assert test[0] == "CMD"
        return self.run(*test[1:]).returncode == 0

    def wait(self) -> None:
        """Wait until it is healthy."""
        deadline = time.monotonic() + 600
        while not self.is_healthy():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / f"{self.name}.log").read_text(errors="replace")
                raise RuntimeError(f"{self.name} did not get well: exit code {self.process.returncode}\n{log[-8000:]}")
            time.sleep(0.5)
        self._forbid_execution()


def _folders(target: str) -> list[str]:
    """Make what is above a mount: by itself it would be closed to all but root."""
    above = [str(folder) for folder in reversed(Path(target).parents) if folder != Path("/")]
    return [word for folder in above for word in ("--perms", "0755", "--dir", folder)]


def _tmpfs(target: str, options: str) -> list[str]:
    settings = dict(option.split("=") for option in options.split(","))
    units = {"m": 1 << 20, "g": 1 << 30}
    size = settings["size"]
    size = int(size[:-1]) * units[size[-1]] if size[-1] in units else int(size)
    return [*_folders(target), "--perms", settings["mode"], "--size", str(size), "--tmpfs", target]


def waves(folder: Path) -> list[list[Service]]:
    """Return the services in waves: each wave needs only what came before it."""
    left = compose("compose.yaml")["services"]
    hosts = (str(host) for host in list(_NETWORK.hosts())[1:])
    found: list[list[Service]] = []
    while left:
        ready = {name: one for name, one in left.items() if not set(one.get("depends_on", {})) & set(left)}
        found.append([Service(*each, next(hosts), folder) for item in ready.items() for each in _replicas(*item)])
        left = {name: one for name, one in left.items() if name not in ready}
    return found


def _replicas(name: str, settings: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    count = settings.get("deploy", {}).get("replicas", 1)
    return [(name if count == 1 else f"{name}-{number}", settings) for number in range(1, count + 1)]


def connect(services: list[Service]) -> None:
    """Lay the network: a bridge, and a cable from it to each service."""
    hosts = "".join(f"{service.address} {service.name}\n" for service in services)
    files = {"hosts": f"127.0.0.1 localhost\n{hosts}", "passwd": _PASSWD, "group": _GROUP}
    for name, content in files.items():
        (services[0].folder / name).write_text(content)
    outside = str(next(_NETWORK.hosts()))
    Path("/run/netns").mkdir(exist_ok=True)
    _run("mount", "--make-rprivate", "/")
    _run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    _run("mount", "--bind", str(services[0].folder / "hosts"), "/etc/hosts")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "tuner0", "type", "bridge")
    _run("ip", "addr", "add", f"{outside}/{_NETWORK.prefixlen}", "dev", "tuner0")
    _run("ip", "link", "set", "tuner0", "up")
    for number, service in enumerate(services):
        inside = ["ip", "-n", service.name]
        _run("ip", "netns", "add", service.name)
        _run("ip", "link", "add", f"cable{number}", "type", "veth", "peer", "name", "eth0", "netns", service.name)
        _run("ip", "link", "set", f"cable{number}", "master", "tuner0", "up")
        _run(*inside, "addr", "add", f"{service.address}/{_NETWORK.prefixlen}", "dev", "eth0")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "route", "add", "default", "via", outside)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


async def publish(services: list[Service]) -> None:
    """Open the published ports where compose.yaml says."""
    for service in services:
        for port in service.settings.get("ports", ()):
            there = (service.address, port["target"])
            await asyncio.start_server(_forwarder(*there), port["host_ip"], int(port["published"]))


def _forwarder(host: str, port: int) -> Any:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(host, port)
        except ConnectionError:
            writer.close()
            return
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    return forward


async def run(folder: Path) -> None:
    """Bring the stack up, say so, and keep it until the standard input ends."""
    started = waves(folder)
    services = [service for wave in started for service in wave]
    connect(services)
    await publish(services)
    for wave in started:
        for service in wave:
            service.start()
        await asyncio.gather(*(asyncio.to_thread(service.wait) for service in wave))
    print(json.dumps({service.name: service.pid for service in services}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
