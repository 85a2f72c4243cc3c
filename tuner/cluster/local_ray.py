"""Ray on this machine: whether a driver starts one of its own, and the folder of its sockets and logs."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

from tuner.cluster.auth import check_mode
from tuner.errors import UserError

_SOCKET_BYTES = 107  # of a socket's path, on Linux
_BELOW_FOLDER = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (a private folder is made in one of them)


_CONNECT_S = 5.0
_METRICS = "RAY_enable_metrics_collection"
_PORTS_OF_METRICS = ("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")  # -1: none, upon which Ray goes on without


def no_metrics() -> dict[str, str]:
    """Return the environment variables without which Ray serves its metrics to whoever asks, without a token.

    Empty if ``RAY_enable_metrics_collection`` is set: whoever watches a cluster with Prometheus sets it to 1.
    """
    return {} if _METRICS in os.environ else {_METRICS: "0", **dict.fromkeys(_PORTS_OF_METRICS, "-1")}


def is_wanted() -> bool:
    """Return whether a driver starts a Ray of its own: ``RAY_ADDRESS`` names no cluster that it joins."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


def answers() -> bool:
    """Return whether something answers where ``RAY_ADDRESS`` says; Ray itself tries that for minutes.

    An address that is no host and port is not tried.
    """
    host, _, port = os.environ.get("RAY_ADDRESS", "").rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return True
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_S):
            return True
    except (OSError, OverflowError):
        return False


def check_authentication(*, insecure: bool) -> None:
    """Check that a Ray that a driver starts here will require a token.

    Args:
        insecure: accept that it requires none.

    Raises:
        UserError: ``RAY_AUTH_MODE`` turns tokens off.
    """
    if is_wanted():
        check_mode(insecure=insecure)


def session_folder() -> Path:
    """Return a folder for Ray's sessions which no other user can enter, and which exists.

    Ray lets every user write into the folders that it makes, so this one lies in a folder of mode 0700: in
    ``RAY_TMPDIR`` or ``TMPDIR``, or where paths of sockets would be too long there, in ``/tmp`` or the like.

    Raises:
        UserError: there is no such folder, and none can be made.
    """
    longest = _SOCKET_BYTES - len(_BELOW_FOLDER)
    bases = [os.environ.get("RAY_TMPDIR", ""), tempfile.gettempdir(), *_SHORT_FOLDERS]
    for base in dict.fromkeys(filter(None, bases)):
        folder = _private_folder(Path(base).absolute(), longest - len("/ray"))
        if folder is not None:
            (folder / "ray").mkdir(exist_ok=True)
            return folder / "ray"
    raise UserError(
        f"Ray needs a folder for its sockets, whose paths have at most {_SOCKET_BYTES} bytes; TMPDIR is "
        f"{tempfile.gettempdir()}, too long or not writable, and so are {', '.join(_SHORT_FOLDERS)}: choose another"
    )


def _private_folder(base: Path, longest: int) -> Path | None:
    """Return a folder of this user's below another folder, None if it would be too long or cannot be made."""
    folder = base / f"tuner-{os.getuid()}"
    try:
        if _num_bytes(folder) > longest:
            return None
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_own(folder):  # somebody else has made it, or a link in its place
            folder = Path(tempfile.mkdtemp(prefix="tuner-", dir=base))
        folder.chmod(0o700)
    except (OSError, UnicodeEncodeError):  # the latter: bytes that are no UTF-8, which Ray demands
        return None
    return folder if _num_bytes(folder) <= longest else None


def _num_bytes(path: Path) -> int:
    return len(str(path).encode())


def _is_own(folder: Path) -> bool:
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
