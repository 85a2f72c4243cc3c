"""On which addresses the processes of a tree listen, as the kernel has it."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path

_LISTENING = "0A"


def descendants(pid: int) -> set[int]:
    """Return a process and all that it and its children have started."""
    found = {pid}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                found |= descendants(int(child))
    return found


def listening(pids: set[int]) -> list[tuple[str, int]]:
    """Return the addresses and ports that processes listen on, TCP over IPv4 and IPv6."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.add(str(descriptor.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENING and f"socket:[{inode}]" in inodes:
                address, port = local.split(":")
                words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                found.append((str(ipaddress.ip_address(b"".join(words))), int(port, 16)))
    return found
