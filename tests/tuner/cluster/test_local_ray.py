"""The Ray of a driver on this machine: its token, and a folder that no other user can enter."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from tuner.cluster import local_ray
from tuner.errors import UserError


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A short folder that is the only one for temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(local_ray, "_SHORT_FOLDERS", ())
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def umask_of_nobody():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_of_nobody")
def test_other_users_cannot_enter_it(base):
    folder = local_ray.session_folder()
    assert folder == base / f"tuner-{os.getuid()}" / "ray"
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    folder.parent.chmod(0o777)
    assert local_ray.session_folder() == folder
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_what_somebody_else_has_put_there_is_not_used(base, tmp_path):
    (base / f"tuner-{os.getuid()}").symlink_to(tmp_path)
    folder = local_ray.session_folder()
    assert folder.parent.parent == base
    assert folder.parent != base / f"tuner-{os.getuid()}"
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())


def test_sockets_fit_below_it(base, monkeypatch):
    long = base / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(UserError, match=r"at most 107 bytes.*set TMPDIR|at most 107 bytes.*choose another"):
        local_ray.session_folder()
    monkeypatch.setattr(local_ray, "_SHORT_FOLDERS", (str(base),))
    folder = local_ray.session_folder()
    assert folder.parent.parent == base
    assert not list(long.iterdir())
    name = str(folder) + local_ray._BELOW_FOLDER
    Path(name).parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(name)


def test_a_folder_as_long_as_allowed_takes_a_socket(base, monkeypatch):
    longest = local_ray._SOCKET_BYTES - len(local_ray._BELOW_FOLDER) - len(f"/tuner-{os.getuid()}/ray")
    long = base / ("x" * (longest - len(str(base)) - 1))
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    name = str(local_ray.session_folder()) + local_ray._BELOW_FOLDER
    assert len(name) == local_ray._SOCKET_BYTES
    Path(name).parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(name)


@pytest.mark.parametrize("address", [None, "", "local"])
def test_without_a_token_it_starts_only_if_that_is_typed(monkeypatch, address):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(UserError, match="only with --insecure"):
        local_ray.check_authentication(insecure=False)
    local_ray.check_authentication(insecure=True)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # whoever started that cluster has typed it
    local_ray.check_authentication(insecure=False)
