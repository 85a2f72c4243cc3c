"""Starting nodes: the token is its owner's alone, and nothing is open that nobody has typed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tuner.cluster import auth, nodes
from tuner.errors import SweepError, UserError


@pytest.fixture
def token(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_JOB_STOP_SIGNAL", "RAY_JOB_STOP_WAIT_TIME_S"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "ray" / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    return path


def test_a_token_is_made_once_and_only_its_owner_can_read_it(token):
    assert auth.read_token() is None
    assert auth.make_token() == token
    made = auth.read_token()
    assert made
    assert len(made) == 64
    assert token.stat().st_mode & 0o777 == 0o600
    auth.make_token()
    assert auth.read_token() == made
    auth.check_token_file()


def test_a_token_in_the_environment_counts_for_more(token, monkeypatch):
    auth.make_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", " secret\n")
    assert auth.read_token() == "secret"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_token_that_others_can_read_is_refused(token, mode):
    auth.make_token()
    token.chmod(mode)
    with pytest.raises(UserError, match=f"mode {mode:04o}.*must be 0600: `chmod 600 {token}`"):
        nodes.environment()
    assert nodes.environment(insecure=True)["RAY_AUTH_MODE"] == "disabled"


def test_for_a_cluster_on_this_machine_alone_the_token_is_mended(token, monkeypatch):
    auth.secure_own_token()
    token.chmod(0o644)
    auth.secure_own_token()
    assert token.stat().st_mode & 0o777 == 0o600
    token.unlink()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    auth.secure_own_token()
    assert not token.exists()


def test_under_any_umask_only_the_owner_can_replace_the_token(tmp_path, monkeypatch, token):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    before = os.umask(0)
    try:
        auth.secure_own_token()
        folder = tmp_path / ".ray"
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o777)
        auth.secure_own_token()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "auth_token").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_token_that_another_user_has_made_is_refused(token):
    os.chown(auth.make_token(), 65534, 65534)
    with pytest.raises(UserError, match="made by another user"):
        auth.secure_own_token()


def test_a_node_asks_for_the_token_and_lets_drivers_end(token, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere:8265")
    environment = nodes.environment()
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert environment["RAY_JOB_STOP_WAIT_TIME_S"] == "60"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["PATH"] == os.environ["PATH"]
    assert "RAY_ADDRESS" not in environment


@pytest.mark.parametrize("mode", ["disabled", "", "none", "k8s", "token "])  # all the same to Ray
def test_no_node_starts_without_authentication_unless_it_is_typed(token, monkeypatch, mode):
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(UserError, match="only with --insecure"):
        nodes.environment()
    assert nodes.environment(insecure=True)["RAY_AUTH_MODE"] == "disabled"


def test_modes_are_taken_as_ray_takes_them(monkeypatch):
    for mode in ("disabled", "", "none", "k8s", "token ", "Token", "token"):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        assert auth.is_token_mode() == (mode in ("Token", "token"))


def test_which_hosts_are_this_machine_alone():
    assert [nodes.is_loopback(host) for host in ("127.0.0.1", "localhost", "127.3.2.1", "::1")] == [True] * 4
    assert [nodes.is_loopback(host) for host in ("0.0.0.0", "::", "192.0.2.7", "2001:db8::1")] == [False] * 4
    with pytest.raises(UserError, match=r"--host no-such-host\.invalid"):
        nodes.is_loopback("no-such-host.invalid")


def test_the_dashboard_of_a_head_listens_where_it_is_asked_to():
    command = nodes.head_command("127.0.0.1", 6379, 8265, cpus=None, gpus=None)
    assert command[command.index("--dashboard-host") + 1] == "127.0.0.1"
    assert "--num-cpus" not in command
    command = nodes.head_command("192.0.2.7", 1, 2, cpus=3, gpus=0, further=["--resources", "{}"])
    assert command[command.index("--node-ip-address") + 1] == "192.0.2.7"
    assert command[-6:] == ["--num-cpus", "3", "--num-gpus", "0", "--resources", "{}"]
    assert "--node-ip-address" not in nodes.head_command("0.0.0.0", 1, 2, cpus=None, gpus=None)


def test_sessions_of_a_node_lie_where_other_users_cannot_enter(monkeypatch):
    for command in (
        nodes.head_command("127.0.0.1", 6379, 8265, cpus=None, gpus=None),
        nodes.join_command("127.0.0.1:6379", cpus=None, gpus=None),
    ):
        folder = Path(command[command.index("--temp-dir") + 1])
        assert folder.parent.stat().st_mode & 0o777 == 0o700
    for typed in (["--temp-dir", "/x"], ["--temp-dir=/x"]):
        command = nodes.join_command("127.0.0.1:6379", cpus=None, gpus=None, further=typed)
        assert command[-len(typed) :] == typed
        assert sum(word.startswith("--temp-dir") for word in command) == 1


def test_an_agent_finds_a_port_where_another_ray_has_the_usual_one(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(nodes, "_AGENT_PORT", other.getsockname()[1])
        command = nodes.join_command("127.0.0.1:6379", cpus=None, gpus=None)
    port = command[command.index("--dashboard-agent-listen-port") + 1]
    assert int(port) != nodes._AGENT_PORT
    assert "--dashboard-agent-listen-port" not in nodes.join_command("127.0.0.1:6379", cpus=None, gpus=None)


@pytest.mark.parametrize("address", ["head", "http://head:6379", "head:", ":6379", "head:port"])
def test_an_address_to_join_is_host_and_port(address):
    with pytest.raises(UserError, match="must be HOST:PORT"):
        nodes.join_command(address, cpus=None, gpus=None)


def test_commands_refuse_before_anything_starts(run, token, monkeypatch):
    assert "this machine has no token" in run("cluster", "join", "127.0.0.1:1")[1]
    auth.make_token()
    token.chmod(0o644)
    for command in (("join", "127.0.0.1:1"), ("head",)):
        code, output = run("cluster", *command)
        assert code == 2
        assert "must be 0600" in output


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries of MLflow
def test_the_ui_is_open_only_with_passwords_unless_it_is_typed(run, make_sweep, monkeypatch):
    make_sweep()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_FLASK_SERVER_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "secret")
    code, output = run("ui", "--home", ".", "--host", "0.0.0.0")
    assert code == 2
    assert "set MLFLOW_FLASK_SERVER_SECRET_KEY (and" in output.replace("\n", " ")
    started = []
    monkeypatch.setattr(os, "execve", lambda path, command, environment: started.append(command))
    monkeypatch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "secret")
    run("ui", "--home", ".", "--host", "0.0.0.0")
    run("ui", "--home", ".", "--host", "0.0.0.0", "--insecure")
    assert ["basic-auth" in command for command in started] == [True, False]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")  # it starts in the home
    run("ui", "--home", "tiny", "--host", "0.0.0.0", "--insecure")
    assert f"sqlite:///{Path.cwd().parent / 'runs.db'}" in started[-1]
    assert all("secret" not in command for command in started)
    assert all("-P" in command and "--app-dir" in command[command.index("--uvicorn-opts") + 1] for command in started)


def test_a_head_that_is_unknown_is_refused_and_one_that_does_not_answer_is_told():
    with pytest.raises(UserError, match=r"no\.such\.invalid is no host that this machine knows"):
        nodes.why_no_answer("no.such.invalid:6379")
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        assert nodes.why_no_answer(address) == ""
    assert "refused" in nodes.why_no_answer(address)
    with pytest.raises(SweepError, match=f"nothing answers at {address}: .*refused; start the head"):
        nodes.wait_for_head(address, patience_s=-1.0)


def test_a_head_that_starts_later_is_waited_for(monkeypatch):
    answers = iter(["Connection refused", "Connection refused", ""])
    monkeypatch.setattr(nodes, "why_no_answer", lambda address: next(answers))
    monkeypatch.setattr(nodes, "_ASKED_EVERY_S", 0.0)
    nodes.wait_for_head("127.0.0.1:6379")
    assert list(answers) == []
